package memory

import (
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Cgroup is where the kernel says how much memory this process may have: that of version 2 of control groups.
type Cgroup struct {
	mount string // of the hierarchy
	own   string // the process's group below it
}

// OwnCgroup finds that of this process.
func OwnCgroup() (Cgroup, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return Cgroup{}, fmt.Errorf("find the own control group: %w", err)
	}
	return cgroupOf("/sys/fs/cgroup", string(text))
}

func cgroupOf(mount, text string) (Cgroup, error) {
	for line := range strings.Lines(text) {
		if own, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return Cgroup{mount: mount, own: path.Clean("/" + own)}, nil
		}
	}
	return Cgroup{}, fmt.Errorf("find the own control group: this machine has version 1 of them, whose limits are not looked at: give --memory-limit")
}

// Limit is the lowest of the limits of the group and those around it, in bytes; 0 without one.
func (c Cgroup) Limit() int64 {
	lowest := int64(math.MaxInt64)
	for dir := c.own; ; dir = path.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(c.mount, dir, "memory.max")) // the root of the hierarchy has none
		if n, perr := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && perr == nil {
			lowest = min(lowest, n)
		}
		if dir == "/" {
			break
		}
	}
	if lowest == math.MaxInt64 {
		return 0
	}
	return lowest
}

// Kernel is what the kernel holds for the group and cannot give back, in bytes: what waits in sockets, the sockets
// themselves and other objects, stacks and page tables. 0 where it does not say.
func (c Cgroup) Kernel() (sum int64) {
	text, err := os.ReadFile(filepath.Join(c.mount, c.own, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, v, _ := strings.Cut(line, " ")
		switch name {
		case "sock", "slab_unreclaimable", "kernel_stack", "pagetables":
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			sum += n
		}
	}
	return sum
}
