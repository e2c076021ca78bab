package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// KillInNode sends SIGKILL to every process of a node with this command name (the first 15 bytes of the program's
// name), and tells how many there were.
func (c *Cluster) KillInNode(node, command string) (int, error) {
	killed := 0
	err := c.eachProcess(node, command, func(p process) error {
		err := p.signal(unix.SIGKILL)
		if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrProcessDone) {
			return nil // it ended by itself
		}
		if err == nil {
			killed++
		}
		return err
	})
	if err == nil && killed == 0 {
		err = fmt.Errorf("no %s runs on %s", command, node)
	}
	return killed, err
}

// MemoryInNode is the resident memory, in bytes, of each process of a node with this command name.
func (c *Cluster) MemoryInNode(node, command string) ([]int64, error) {
	var all []int64
	err := c.eachProcess(node, command, func(p process) error {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID))
		if err != nil {
			return nil //nolint:nilerr // it ended
		}
		kib, err := field(b, "VmRSS:")
		if err == nil {
			all = append(all, kib<<10)
		}
		return err
	})
	return all, err
}

// eachProcess calls do with every process of a node that has this command name.
func (c *Cluster) eachProcess(node, command string, do func(process) error) error {
	n, err := nodeNumber(node, c.state.Nodes)
	if err != nil {
		return err
	}
	return filepath.WalkDir(filepath.Join(c.cg.unified, c.nodeCgroup(n)), func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // a pod that went meanwhile
		case err != nil:
			return err
		case d.IsDir() || d.Name() != "cgroup.procs":
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENODEV) {
			return err
		}
		for _, field := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid == 0 {
				continue
			}
			p, named := lookupNamed(pid, command)
			if !named {
				continue
			}
			if err := do(p); err != nil {
				return err
			}
		}
		return nil
	})
}

// lookupNamed finds a process if it runs and has this name.
func lookupNamed(pid int, command string) (process, bool) {
	p, err := lookup(pid)
	if err != nil {
		return p, false
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return p, err == nil && strings.TrimSpace(string(name)) == command[:min(len(command), 15)]
}
