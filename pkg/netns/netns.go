package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrClosed is returned by every method of an NS after Close.
var ErrClosed = errors.New("network namespace handle is closed")

// NS is an open handle on one network namespace. It keeps the namespace alive.
// All methods may be called concurrently.
type NS struct {
	cookie uint64
	inode  uint64
	path   string

	mu sync.RWMutex // held for reading while the descriptor is in use, for writing by Close
	f  *os.File     // nil after Close
}

// Open opens the namespace at path: /run/netns/NAME, /proc/PID/ns/net, …
func Open(path string) (*NS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w (has the pod ended?)", err)
	}
	return fromFile(f, path)
}

// FromFile makes a handle of an open namespace file, such as one received over
// a unix socket. The handle keeps its own duplicate: f stays the caller's.
func FromFile(f *os.File) (*NS, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("duplicate network namespace descriptor: %w", err)
	}
	return fromFile(os.NewFile(uintptr(fd), f.Name()), "")
}

// Current returns a handle on the namespace that the process lives in.
func Current() (*NS, error) {
	h, err := home()
	if err != nil {
		return nil, err
	}
	return FromFile(h)
}

func fromFile(f *os.File, path string) (*NS, error) {
	n := &NS{f: f, path: path}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || fs.Type != unix.NSFS_MAGIC {
		f.Close()
		return nil, fmt.Errorf("%s is not a namespace file: a mount of it may be missing in this mount namespace (is /run/netns shared with the host?)", f.Name())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, fmt.Errorf("stat network namespace: %w", err)
	}
	n.inode = st.Ino
	fd, err := n.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		f.Close()
		return nil, err
	}
	defer unix.Close(fd)
	if n.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err != nil {
		f.Close()
		return nil, fmt.Errorf("network namespace cookie: %w (needs Linux 5.14)", err)
	}
	return n, nil
}

// Cookie is the kernel's number for the namespace, never reused within a boot.
func (n *NS) Cookie() uint64 { return n.cookie }

// Inode is the number shown as net:[INODE] in /proc/PID/ns/net. It may be
// reused once the namespace is gone: prefer Cookie.
func (n *NS) Inode() uint64 { return n.inode }

// Path is what Open was given, or "" for a handle made otherwise.
func (n *NS) Path() string { return n.path }

// Close releases the handle. Sockets made from it live on.
func (n *NS) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.f == nil {
		return ErrClosed
	}
	err := n.f.Close()
	n.f = nil
	return err
}

// File returns a duplicate of the handle's descriptor, owned by the caller.
func (n *NS) File() (*os.File, error) {
	var out *os.File
	err := n.WithFd(func(fd int) error {
		d, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return fmt.Errorf("duplicate network namespace descriptor: %w", err)
		}
		out = os.NewFile(uintptr(d), "netns")
		return nil
	})
	return out, err
}

// WithFd calls fn with the descriptor, which stays open until fn returns.
func (n *NS) WithFd(fn func(fd int) error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.f == nil {
		return ErrClosed
	}
	return fn(int(n.f.Fd()))
}

// Do runs fn inside the namespace, on a locked thread of its own goroutine, and
// returns fn's error. Goroutines that fn starts are outside. Calls may nest.
func (n *NS) Do(fn func() error) error {
	return n.WithFd(func(fd int) error {
		h, err := home()
		if err != nil {
			return err
		}
		done := make(chan error, 1)
		go within(fd, int(h.Fd()), fn, done)
		return <-done
	})
}

// within leaves its thread locked, and so destroyed with the goroutine, when
// the way back fails: a thread in the wrong namespace must not be reused.
func within(target, back int, fn func() error, done chan<- error) {
	err := errors.New("function inside network namespace did not return")
	defer func() { done <- err }()
	runtime.LockOSThread()
	if e := unix.Setns(target, unix.CLONE_NEWNET); e != nil {
		runtime.UnlockOSThread()
		err = fmt.Errorf("enter network namespace: %w (needs CAP_SYS_ADMIN)", e)
		return
	}
	err = fn()
	if e := unix.Setns(back, unix.CLONE_NEWNET); e != nil {
		err = errors.Join(err, fmt.Errorf("leave network namespace: %w", e))
		return
	}
	runtime.UnlockOSThread()
}

var homeOnce struct {
	sync.Once
	f   *os.File
	err error
}

// home is the namespace to return to. It is read on a fresh goroutine, whose
// thread nobody can have moved, and kept open for the life of the process.
func home() (*os.File, error) {
	homeOnce.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			homeOnce.f, homeOnce.err = os.Open("/proc/thread-self/ns/net")
		}()
		<-done
	})
	if homeOnce.err != nil {
		return nil, fmt.Errorf("open own network namespace: %w (is /proc mounted?)", homeOnce.err)
	}
	return homeOnce.f, nil
}
