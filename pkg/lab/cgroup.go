package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CgroupRoot finds where cgroup2 is mounted, whatever else is mounted beside it.
func CgroupRoot() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("find cgroup2: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 30 25 0:26 / /sys/fs/cgroup rw,nosuid … - cgroup2 cgroup2 rw
		before, after, ok := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); ok && strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 && fields[3] == "/" {
			return fields[4], nil
		}
	}
	return "", errors.New("cgroup2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

// makeCgroup makes the cgroup (a path below the cgroup2 mount) and returns its absolute path.
func makeCgroup(rel string) (string, error) {
	root, err := CgroupRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, rel)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("make cgroup: %w", err)
	}
	return path, nil
}

// killCgroup ends every process in the cgroup and below, and waits until they are gone.
func killCgroup(rel string) error {
	root, err := CgroupRoot()
	if err != nil {
		return err
	}
	path := filepath.Join(root, rel)
	if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			if _, statErr := os.Stat(path); errors.Is(statErr, fs.ErrNotExist) {
				return nil // no such cgroup, nobody in it
			}
			return fmt.Errorf("this kernel has no cgroup.kill (Linux 5.14): %w", err)
		}
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return awaitEmpty(path)
}

// awaitEmpty waits for the last process of a killed cgroup to be gone.
func awaitEmpty(path string) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		events, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) || strings.Contains(string(events), "populated 0") {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes in %s outlived SIGKILL for 10 s", path)
		}
	}
}

// removeCgroup removes an empty cgroup and the empty ones below it.
func removeCgroup(rel string) error {
	root, err := CgroupRoot()
	if err != nil {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(filepath.Join(root, rel), func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cgroup (someone still in it?): %w", err)
		}
	}
	return nil
}
