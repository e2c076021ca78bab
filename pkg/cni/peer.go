package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

type connKey struct{}

// withConn lets a handler ask who is at the other end.
func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// peer is the plugin at the other end of a connection.
type peer struct {
	pid   int      // in our PID namespace; 0: not visible there
	pidfd *os.File // nil: the kernel is older than 6.5
}

// peerOf finds the plugin; the caller closes it.
func peerOf(ctx context.Context) (p peer) {
	u, ok := ctx.Value(connKey{}).(*net.UnixConn)
	if !ok {
		return p
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return p
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			p.pid = int(cred.Pid)
		}
		if n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD); err == nil {
			unix.CloseOnExec(n)
			p.pidfd = os.NewFile(uintptr(n), "pidfd")
		}
	})
	return p
}

func (p peer) close() {
	if p.pidfd != nil {
		p.pidfd.Close()
	}
}

// alive tells that the pid still means the process that connected.
func (p peer) alive() bool {
	if p.pidfd == nil {
		return true
	}
	fds := []unix.PollFd{{Fd: int32(p.pidfd.Fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

// openNetns opens the namespace that the plugin holds open, or, where its process cannot be seen, the one at the path.
func openNetns(ctx context.Context, req request) (*os.File, error) {
	if req.Netns == "" {
		return nil, errors.New("the runtime names no network namespace")
	}
	p := peerOf(ctx)
	defer p.close()
	path := req.Netns
	if p.pid > 0 && req.NetnsFD > 0 {
		path = fmt.Sprintf("/proc/%d/fd/%d", p.pid, req.NetnsFD)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the pod's network namespace: %w (has the agent the host's PID namespace, hostPID: true?)", err)
	}
	if err := checkNetns(f, p); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", req.Netns, err)
	}
	return f, nil
}

// checkNetns makes sure that f is a namespace, and that it was opened while the plugin lived.
func checkNetns(f *os.File, p peer) error {
	var fs unix.Statfs_t
	switch err := unix.Fstatfs(int(f.Fd()), &fs); {
	case err != nil:
		return err
	case fs.Type != unix.NSFS_MAGIC:
		return errors.New("is not a network namespace")
	case !p.alive():
		return errors.New("the plugin has ended before its namespace was opened")
	}
	return nil
}
