package trial

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	// ownCgroup is where a container sees its own cgroup (version 2).
	ownCgroup = "/sys/fs/cgroup"
	// leastMemory is what a trial needs, in bytes, with room to spare.
	leastMemory = 192 << 20
)

// allowance is how many bytes a trial may take, so that the Envoy that serves beside it stays below the limit of the
// cgroup in dir: the kernel ends all of a container that is beyond it. Where there is no limit, maxMemory.
func allowance(dir string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, "memory.max"))
	limit, none := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || none != nil { // no cgroup of version 2, its root, or "max"
		return maxMemory, nil
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, fmt.Errorf("how much memory is left: %w", err)
	}
	var used uint64 // what cannot be reclaimed
	for line := range strings.Lines(string(stat)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "anon "); ok {
			if used, err = strconv.ParseUint(n, 10, 64); err != nil {
				return 0, fmt.Errorf("how much memory is left: %w", err)
			}
		}
	}
	left := (limit - min(used, limit)) / 4 * 3
	if left < leastMemory {
		return 0, fmt.Errorf("the waypoint uses %d of the %d MiB that it may have, and a trial may need %d: raise its resources.limits.memory",
			used>>20, limit>>20, leastMemory>>20)
	}
	return min(left, maxMemory), nil
}
