package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// LimitMemory lets all processes of a node together have only so many bytes beyond what they have now; the kernel then
// reclaims, and at the end kills in that node alone. The function that it gives lifts the limit.
func (c *Cluster) LimitMemory(node string, beyond int64) (lift func() error, err error) {
	n, err := nodeNumber(node, c.state.Nodes)
	if err != nil {
		return nil, err
	}
	for _, root := range c.cg.all() {
		dir := filepath.Join(root, c.nodeCgroup(n))
		for _, f := range []struct{ used, limit, none string }{
			{"memory.usage_in_bytes", "memory.limit_in_bytes", "-1"}, {"memory.current", "memory.max", "max"},
		} {
			b, err := os.ReadFile(filepath.Join(dir, f.used))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			used, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			if err != nil {
				return nil, err
			}
			file := filepath.Join(dir, f.limit)
			lift := func() error { return os.WriteFile(file, []byte(f.none), 0o644) }
			return lift, os.WriteFile(file, []byte(strconv.FormatInt(used+beyond, 10)), 0o644)
		}
	}
	return nil, fmt.Errorf("no cgroup counts the memory of %s", node)
}
