package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Hierarchy is a node's cgroup2 hierarchy as its process 1 sees it. An agent in a container may see another
// part of it, or none: /proc/PID/cgroup is relative to the reader's cgroup namespace, and container runtimes
// bind only the container's own folders.
type Hierarchy struct {
	dir *os.File // its root
	ns  *os.File // cgroup namespace to read in; nil: the process's own is the right one
}

// OpenHierarchy opens the one that process pid has, which is 1 for a node; the process needs the host's PID
// namespace then.
func OpenHierarchy(pid int) (*Hierarchy, error) {
	h := &Hierarchy{}
	path := fmt.Sprintf("/proc/%d/ns/cgroup", pid)
	there, err := os.Readlink(path)
	if err != nil {
		return nil, fmt.Errorf("cgroup namespace of process %d: %w (needs root and the host's PID namespace: hostPID)", pid, err)
	}
	if here, err := os.Readlink("/proc/self/ns/cgroup"); err != nil || here != there {
		if h.ns, err = os.Open(path); err != nil {
			return nil, fmt.Errorf("cgroup namespace of process %d: %w", pid, err)
		}
	}
	err = h.open(pid)
	if err != nil && h.ns != nil {
		// A process with a namespace of its own that left the mounts as they were.
		err = errors.Join(h.ns.Close(), err)
		h.ns = nil
		if e := h.open(pid); e == nil {
			err = nil
		}
	}
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("cgroup2 of process %d: %w", pid, err)
	}
	return h, nil
}

// open finds the mount in whose root the namespace's paths begin.
func (h *Hierarchy) open(pid int) error {
	return h.inside(func() error {
		mount, whole, err := cgroupMount(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err == nil && !whole {
			err = fmt.Errorf("only a part of it is mounted, at %s", mount)
		}
		if err == nil {
			h.dir, err = os.Open(filepath.Join(fmt.Sprintf("/proc/%d/root", pid), mount))
		}
		return err
	})
}

// Root is a path of the hierarchy's root that this process can use until Close.
func (h *Hierarchy) Root() string { return fmt.Sprintf("/proc/self/fd/%d", h.dir.Fd()) }

// Of returns the cgroup2 that process pid is in: its path below Root, and its id.
func (h *Hierarchy) Of(pid int) (rel string, id uint64, err error) {
	err = h.inside(func() (err error) {
		rel, err = cgroupPath(pid)
		return err
	})
	if err != nil {
		return "", 0, err
	}
	if strings.HasPrefix(rel, "/..") {
		return rel, 0, fmt.Errorf("process %d is in cgroup %s, outside of this node's hierarchy", pid, rel)
	}
	id, err = CgroupID(filepath.Join(h.Root(), rel))
	return rel, id, err
}

// Close releases the descriptors.
func (h *Hierarchy) Close() error {
	var errs []error
	for _, f := range []*os.File{h.dir, h.ns} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// inside runs fn in the cgroup namespace. A thread that finds no way back is given up.
func (h *Hierarchy) inside(fn func() error) error {
	if h.ns == nil {
		return fn()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		back, err := os.Open("/proc/thread-self/ns/cgroup")
		if err == nil {
			defer back.Close()
			err = unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWCGROUP)
		}
		if err != nil {
			runtime.UnlockOSThread()
			done <- fmt.Errorf("enter the node's cgroup namespace: %w (needs CAP_SYS_ADMIN)", err)
			return
		}
		err = fn()
		if e := unix.Setns(int(back.Fd()), unix.CLONE_NEWCGROUP); e == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}
