package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchies are the cgroup mounts of this machine: one (cgroup2) or many (cgroup v1 with a unified one beside).
type hierarchies struct {
	unified string   // mount point of cgroup2
	v1      []string // mount points of the others
}

func findHierarchies() (hierarchies, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return hierarchies{}, err
	}
	defer f.Close()
	var h hierarchies
	for lines := bufio.NewScanner(f); lines.Scan(); {
		switch fields := strings.Fields(lines.Text()); {
		case fields[2] == "cgroup2" && h.unified == "":
			h.unified = fields[1]
		case fields[2] == "cgroup" && !slices.Contains(h.v1, fields[1]):
			h.v1 = append(h.v1, fields[1])
		}
	}
	if h.unified == "" {
		return h, errors.New("no cgroup2 is mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified")
	}
	return h, nil
}

func (h hierarchies) all() []string { return append([]string{h.unified}, h.v1...) }

// make makes the cgroup (a path of several names) in every hierarchy.
func (h hierarchies) make(group string) error {
	for _, root := range h.all() {
		dir := root
		for _, name := range strings.Split(group, "/") {
			parent := dir
			dir = filepath.Join(dir, name)
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("cgroup %s: %w", dir, err)
			}
			if err := inheritCpuset(parent, dir); err != nil {
				return err
			}
			if root == h.unified && len(h.v1) == 0 {
				enableControllers(parent)
			}
		}
	}
	return nil
}

// inheritCpuset makes a v1 cpuset usable: a new one has no processors and takes no process.
func inheritCpuset(parent, dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(parent, file))
		if err != nil || len(strings.TrimSpace(string(b))) == 0 {
			return nil // not a cpuset of v1
		}
		if own, err := os.ReadFile(filepath.Join(dir, file)); err == nil && len(strings.TrimSpace(string(own))) > 0 {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file), b, 0o644); err != nil {
			return fmt.Errorf("cgroup %s: %w", dir, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// enableControllers hands the controllers down where cgroup2 has them; what cannot be had is the kubelet's to complain of.
func enableControllers(dir string) {
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, c := range strings.Fields(string(b)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644)
	}
}

// enter moves this process into a cgroup in every hierarchy.
func (h hierarchies) enter(group string) error {
	for _, root := range h.all() {
		if err := os.WriteFile(filepath.Join(root, group, "cgroup.procs"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("entering cgroup %s: %w", filepath.Join(root, group), err)
		}
	}
	return nil
}

// kill ends every process below the cgroup, and returns when the last is gone.
func (h hierarchies) kill(ctx context.Context, group string) error {
	dir := filepath.Join(h.unified, group)
	if err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("killing cgroup %s: %w", dir, err)
	}
	return poll(ctx, 30*time.Second, "processes in cgroup "+dir+" to end", func() error {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
		if err == nil && !strings.Contains(string(b), "populated 0") {
			return errors.New("some are left")
		}
		return err
	})
}

// remove removes the cgroup and all below it, in every hierarchy. The kernel lets go of an empty cgroup with a delay.
func (h hierarchies) remove(ctx context.Context, group string) error {
	return poll(ctx, 20*time.Second, "cgroup "+group+" to be removed", func() error {
		var errs []error
		for _, root := range h.all() {
			errs = append(errs, removeTree(filepath.Join(root, group)))
		}
		return errors.Join(errs...)
	})
}

// removeTree removes directories from the leaves up; files in a cgroup cannot be removed and need not be.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing %s: %w", dir, err)
	}
	return nil
}

// poll calls a condition until it gives no error. What is waited for is named in the error.
func poll(ctx context.Context, limit time.Duration, what string, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w (%w)", what, err, ctx.Err())
		case <-tick.C:
		}
	}
}

// gone tells errors that say that what was to be removed is not there.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ESRCH)
}
