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
	n, err := nodeNumber(node, c.state.Nodes)
	if err != nil {
		return 0, err
	}
	killed := 0
	err = filepath.WalkDir(filepath.Join(c.cg.unified, c.nodeCgroup(n)), func(path string, d fs.DirEntry, err error) error {
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
			done, err := killNamed(pid, command)
			if err != nil {
				return err
			}
			if done {
				killed++
			}
		}
		return nil
	})
	if err == nil && killed == 0 {
		err = fmt.Errorf("no %s runs on %s", command, node)
	}
	return killed, err
}

// killNamed kills a process if it has this name; what has ended meanwhile has not.
func killNamed(pid int, command string) (bool, error) {
	p, err := lookup(pid)
	if err != nil {
		return false, nil //nolint:nilerr // it has ended
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(name)) != command[:min(len(command), 15)] {
		return false, nil //nolint:nilerr // it has ended, or is another
	}
	err = p.signal(unix.SIGKILL)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrProcessDone) {
		return false, nil
	}
	return err == nil, err
}
