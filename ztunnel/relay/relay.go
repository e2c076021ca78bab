// Package relay moves the bytes of connections that are not tunnelled: TCP to TCP.
//
// A direction that ends passes the end on (half close); one that breaks resets the other side, so that a
// client sees through the proxy what it would see without: data, then the end or the reset. The kernel tells
// of a reset only once; when a write was the one to hear it, the read that follows looks like an orderly
// end, and must not be taken for one (see side.lost). An idle connection holds no buffer: a direction waits
// for the kernel's word and takes a buffer from a pool only while bytes move. A direction whose receiver does
// not read looks once a second whether its sender has gone meanwhile, which nothing else would tell.
// (splice(2) would spare copies here, but holds two pipes for every direction and cannot be interrupted
// without losing bytes.)
package relay

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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
	c, s := side{conn: client, name: ErrClient}, side{conn: server, name: ErrServer}
	if err := errors.Join(c.init(), s.init()); err != nil {
		Reset(client)
		Reset(server)
		return err
	}
	done := make(chan error, 1)
	go func() { done <- newPump(&s, &c, received).run() }()
	up := newPump(&c, &s, sent).run()
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
