package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// evictAt is the kubelet's setting that says when its node is short of memory.
var evictAt = regexp.MustCompile(`memory\.available: \w+`)

// LimitMemory makes a node short of memory as soon as its processes have so many bytes more in use than now. That is
// the kubelet's opinion, not the kernel's: below that bound it reports MemoryPressure and evicts pods. The kubelet is
// started again for it, and for the function that lifts the limit.
func (c *Cluster) LimitMemory(ctx context.Context, node string, beyond int64) (lift func(context.Context) error, err error) {
	n, err := nodeNumber(node, c.state.Nodes)
	if err != nil {
		return nil, err
	}
	total, err := machineMemory()
	if err != nil {
		return nil, err
	}
	used, err := c.workingSet(n)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(c.nodeDir(n), "kubelet.yaml")
	before, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	limited := evictAt.ReplaceAll(before, fmt.Appendf(nil, "memory.available: %q", strconv.FormatInt(total-used-beyond, 10)))
	if bytes.Equal(limited, before) {
		return nil, fmt.Errorf("%s does not say when memory is short: want %s", file, evictAt)
	}
	configure := func(ctx context.Context, config []byte) error {
		if err := os.WriteFile(file, config, 0o644); err != nil {
			return err
		}
		return c.restartKubelet(ctx, node)
	}
	return func(ctx context.Context) error { return configure(ctx, before) }, configure(ctx, limited)
}

// restartKubelet returns when the node has reported itself anew.
func (c *Cluster) restartKubelet(ctx context.Context, node string) error {
	began := time.Now().Truncate(time.Second)
	if _, err := c.KillInNode(node, "kubelet"); err != nil {
		return err
	}
	return poll(ctx, time.Minute, "the kubelet of "+node+" to report ("+c.logFile("kubelet-"+node)+")", func() error {
		out, err := c.Run(ctx, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="MemoryPressure")].lastHeartbeatTime}`)
		if err != nil {
			return err
		}
		at, err := time.Parse(time.RFC3339, out)
		if err == nil && !at.After(began) {
			err = fmt.Errorf("its last report is of %s", out)
		}
		return err
	})
}

// machineMemory is what the kubelet takes for the node's capacity.
func machineMemory() (int64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	kib, err := field(b, "MemTotal:")
	return kib << 10, err
}

// workingSet is what a node's processes use, but for pages of files that nobody has read twice: as the kubelet counts.
func (c *Cluster) workingSet(n int) (int64, error) {
	for _, root := range c.cg.all() {
		dir := filepath.Join(root, c.nodeCgroup(n))
		for _, f := range []struct{ used, inactive string }{
			{"memory.usage_in_bytes", "total_inactive_file"}, {"memory.current", "inactive_file"},
		} {
			b, err := os.ReadFile(filepath.Join(dir, f.used))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return 0, err
			}
			used, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			if err != nil {
				return 0, err
			}
			stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
			if err != nil {
				return 0, err
			}
			idle, err := field(stat, f.inactive)
			return max(0, used-idle), err
		}
	}
	return 0, fmt.Errorf("no cgroup counts the memory of %s", nodeName(n))
}

// field is the number after a name in a file of lines "NAME NUMBER".
func field(b []byte, name string) (int64, error) {
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no %s among what the kernel tells of memory", name)
}
