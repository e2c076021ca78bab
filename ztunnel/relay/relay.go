// Package relay moves the bytes of connections that are not tunnelled: TCP to TCP.
//
// A direction that ends passes the end on (half close); one that breaks resets the other side, so that a
// client sees through the proxy what it would see without: data, then the end or the reset. An idle
// connection holds no buffer: a direction waits for the kernel's word and takes a buffer from a pool only
// while bytes move. A direction whose receiver does not read looks once a second whether its sender has
// gone meanwhile, which nothing else would tell. (splice(2) would spare copies here, but holds two pipes
// for every direction and cannot be interrupted without losing bytes.)
package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Conn is what a relay needs of a TCP connection; *net.TCPConn is one.
type Conn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

const (
	bufferSize = 64 << 10
	stallCheck = time.Second
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// Which side a connection broke on; test with errors.Is.
var (
	ErrClient = errors.New("client's side")
	ErrServer = errors.New("server's side")
)

// Reset closes c so that its peer sees a reset: pending data is thrown away.
func Reset(c Conn) {
	// A failure means that the connection is gone already.
	_ = c.SetLinger(0)
	_ = c.Close()
}

// TCP moves bytes between client and server until both directions have ended, closes both, and returns
// what broke, nil for an orderly end; errors.Is tells ErrClient or ErrServer. sent counts client to server,
// received the other way.
func TCP(client, server Conn, sent, received *atomic.Uint64) error {
	done := make(chan error, 1)
	go func() { done <- direction(server, client, received, ErrServer, ErrClient) }()
	up := direction(client, server, sent, ErrClient, ErrServer)
	err := first(up, <-done)
	if err != nil {
		Reset(client)
		Reset(server)
		return err
	}
	client.Close()
	server.Close()
	return nil
}

// first prefers the error that began it to the "use of closed connection" that followed.
func first(a, b error) error {
	if a == nil || b != nil && errors.Is(a, net.ErrClosed) {
		return b
	}
	return a
}

// direction copies from src to dst. On a read error dst is reset at once; a write error ends the copying
// and leaves it to the other direction to read what the peer said before it went. Errors name the side.
func direction(src, dst Conn, count *atomic.Uint64, srcSide, dstSide error) error {
	raw, err := src.SyscallConn()
	if err == nil {
		err = pump(raw, src, dst, count)
	}
	var w *writeError
	switch {
	case err == nil:
		if err = dst.CloseWrite(); err == nil || errors.Is(err, unix.ENOTCONN) {
			return nil // if not connected it is gone already, and nothing was lost
		}
		return fmt.Errorf("%w: %w", dstSide, err)
	case errors.As(err, &w):
		// src's peer is told by the end of the other direction; stop taking its bytes.
		_ = shutdownRead(raw)
		return fmt.Errorf("%w: %w", dstSide, w.err)
	}
	Reset(dst)
	return fmt.Errorf("%w: %w", srcSide, err)
}

// writeError marks an error as the receiving side's.
type writeError struct{ err error }

func (w *writeError) Error() string { return w.err.Error() }

func pump(raw syscall.RawConn, src, dst Conn, count *atomic.Uint64) error {
	out, err := dst.SyscallConn()
	if err != nil {
		return &writeError{err}
	}
	for {
		n, err := once(raw, out, dst)
		count.Add(uint64(n))
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// once waits for bytes, without a buffer, and writes what came.
func once(in, out syscall.RawConn, dst Conn) (n int, err error) {
	var buf *[]byte
	var readErr error
	err = in.Read(func(fd uintptr) bool {
		buf = buffers.Get().(*[]byte)
		if n, readErr = retry(int(fd), *buf, unix.Read); readErr == unix.EAGAIN {
			buffers.Put(buf)
			buf = nil
			return false
		}
		return true
	})
	if buf == nil {
		return 0, err
	}
	defer buffers.Put(buf)
	switch {
	case err != nil:
		return 0, err
	case readErr != nil:
		return 0, os.NewSyscallError("read", readErr)
	case n == 0:
		return 0, io.EOF
	}
	return write(in, out, dst, (*buf)[:n])
}

// write hands b to the kernel at once where it takes it all, as it mostly does.
func write(in, out syscall.RawConn, dst Conn, b []byte) (n int, err error) {
	var writeErr error
	err = out.Write(func(fd uintptr) bool {
		n, writeErr = retry(int(fd), b, unix.Write)
		return true
	})
	if writeErr == unix.EAGAIN {
		n, writeErr = 0, nil
	}
	if err = errors.Join(err, os.NewSyscallError("write", writeErr)); err != nil {
		return 0, &writeError{err}
	}
	if n == len(b) {
		return n, nil
	}
	m, err := writeSlow(in, dst, b[n:])
	return n + m, err
}

// writeSlow waits for a receiver that does not keep up, as long as the sender is there.
func writeSlow(in syscall.RawConn, dst Conn, b []byte) (n int, err error) {
	for {
		if err := dst.SetWriteDeadline(time.Now().Add(stallCheck)); err != nil {
			return n, &writeError{err}
		}
		m, err := dst.Write(b[n:])
		n += m
		switch {
		case err == nil:
			if err = dst.SetWriteDeadline(time.Time{}); err != nil {
				return n, &writeError{err}
			}
			return n, nil
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return n, &writeError{err}
		case gone(in):
			return n, os.NewSyscallError("read", unix.ECONNRESET)
		}
	}
}

// gone reports that the kernel has given up a connection: its peer reset it, or does not answer.
func gone(c syscall.RawConn) bool {
	dead := false
	err := c.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
		dead = err == nil && info.State == unix.BPF_TCP_CLOSE
	})
	return dead || err != nil
}

func retry(fd int, b []byte, call func(int, []byte) (int, error)) (int, error) {
	for {
		n, err := call(fd, b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func shutdownRead(raw syscall.RawConn) error {
	var err error
	cerr := raw.Control(func(fd uintptr) { err = unix.Shutdown(int(fd), unix.SHUT_RD) })
	return errors.Join(cerr, err)
}
