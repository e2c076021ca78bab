package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DialOptions describe one outgoing TCP connection. The zero value is an
// ordinary connection from inside the namespace.
type DialOptions struct {
	Mark      uint32        // SO_MARK; 0 = none
	Interface int           // interface index to bind to (1 = lo); 0 = any
	Source    netip.Addr    // source address to borrow (IP_TRANSPARENT); invalid = the kernel's choice
	Timeout   time.Duration // for the handshake; 0 = only the context's deadline and the kernel's

	// Avoid, if set, tells which source ports must not be used together with
	// Source because the client has a genuine connection from there.
	Avoid func(port uint16) bool
}

// DialTCP connects from inside the namespace. Errors wrap the errno, so that
// callers can tell ECONNREFUSED, EHOSTUNREACH and os.ErrDeadlineExceeded; a
// cancelled context's error is wrapped too.
func (n *NS) DialTCP(ctx context.Context, dst netip.AddrPort, o DialOptions) (*net.TCPConn, error) {
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("dial %v: %w", dst, err)
	}
	if o.Source.IsValid() && domainOf(o.Source) != domainOf(dst.Addr()) {
		return nil, fmt.Errorf("dial %v: source %v is of the other address family", dst, o.Source)
	}
	c, err := n.dial(ctx, dst, o)
	if err != nil {
		return nil, fmt.Errorf("dial %v: %w", dst, err)
	}
	return c, nil
}

// dial tries source ports until one is free; without Source one attempt is all.
func (n *NS) dial(ctx context.Context, dst netip.AddrPort, o DialOptions) (*net.TCPConn, error) {
	if !o.Source.IsValid() {
		return n.dialOnce(ctx, dst, o, 0)
	}
	var err error
	for i := 0; i < allAttempts; i++ {
		port := candidate(i)
		if o.Avoid != nil && o.Avoid(port) {
			continue
		}
		var c *net.TCPConn
		c, err = n.dialOnce(ctx, dst, o, port)
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return c, err
		}
	}
	if err == nil {
		err = unix.EADDRNOTAVAIL
	}
	return nil, fmt.Errorf("no free source port for %v: %w (too many connections from this client to this port?)", o.Source, err)
}

func (n *NS) dialOnce(ctx context.Context, dst netip.AddrPort, o DialOptions, port uint16) (*net.TCPConn, error) {
	domain := domainOf(dst.Addr())
	fd, err := n.Socket(domain, unix.SOCK_STREAM, unix.IPPROTO_TCP)
	if err != nil {
		return nil, err
	}
	if err := prepare(fd, domain, o, port); err != nil {
		unix.Close(fd)
		return nil, err
	}
	err = unix.Connect(fd, sockaddr(dst))
	f := os.NewFile(uintptr(fd), "tcp")
	defer f.Close()
	if errors.Is(err, unix.EINPROGRESS) {
		err = await(ctx, f)
	} else {
		err = os.NewSyscallError("connect", err)
	}
	if err != nil {
		return nil, err
	}
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func prepare(fd, domain int, o DialOptions, port uint16) error {
	s := setup{fd: fd}
	s.family(domain)
	s.mark(o.Mark)
	if o.Interface != 0 {
		s.set(unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, o.Interface, "SO_BINDTOIFINDEX")
	}
	s.set(unix.SOL_TCP, unix.TCP_NODELAY, 1, "TCP_NODELAY")
	if o.Source.IsValid() {
		s.transparent(domain)
		// Shared bind: an application may still listen on this port, and one
		// port serves several destinations.
		s.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, "SO_REUSEADDR")
		if s.err == nil {
			s.err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(netip.AddrPortFrom(o.Source, port))))
		}
	}
	return s.err
}

// await waits for a connection in progress. Cancelling ctx ends the wait by
// moving the write deadline into the past.
func await(ctx context.Context, f *os.File) error {
	rc, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	err = rc.Write(func(fd uintptr) bool {
		code, e := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case e != nil:
			failed = e
		case code != 0:
			failed = os.NewSyscallError("connect", syscall.Errno(code))
		default:
			_, e = unix.Getpeername(int(fd))
			return e == nil // else: woken, but not connected yet
		}
		return true
	})
	if failed != nil {
		return failed
	}
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	if !stop() && err == nil {
		// The deadline was already moved: net.FileConn duplicates the
		// descriptor and starts without it, so the connection is good.
		return nil
	}
	return err
}
