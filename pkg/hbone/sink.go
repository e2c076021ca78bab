package hbone

import (
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// App is an application's TCP connection. *net.TCPConn is one.
type App interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// sink is the application's side of a splice, as the stream's reader sees it. Its fields are protected by
// the stream's rmu, but those that never change.
type sink struct {
	app   App
	raw   syscall.RawConn
	count *atomic.Uint64
	over  chan struct{} // closed when nothing more will be written

	draining bool  // a goroutine waits for the socket to take more
	broken   error // the socket takes nothing any more
	closed   bool  // over is closed

	segs [][]byte // of the write under way
	n    int
	err  error
	fn   func(uintptr) bool
}

func newSink(app App, raw syscall.RawConn, count *atomic.Uint64) *sink {
	k := &sink{app: app, raw: raw, count: count, over: make(chan struct{})}
	k.fn = func(fd uintptr) bool {
		k.n, k.err = writev(int(fd), k.segs)
		return true
	}
	return k
}

// write gives segs to the socket as far as it takes them now.
func (k *sink) write(segs [][]byte) (n int) {
	if k.broken != nil {
		return 0
	}
	k.segs = segs
	err := k.raw.Write(k.fn)
	k.segs = nil
	return k.result(k.n, errors.Join(err, k.err))
}

func (k *sink) result(n int, err error) int {
	k.count.Add(uint64(n))
	if err != nil {
		k.broken = err
		k.finish()
	}
	return n
}

func (k *sink) finish() {
	if !k.closed {
		k.closed = true
		close(k.over)
	}
}

// ended passes the end of the stream's input on; rmu is held.
func (k *sink) ended(s *Stream) {
	switch {
	case s.reset != nil:
		// The goroutines that wait for the socket let go of it. The splice resets it.
		_ = k.app.SetDeadline(time.Unix(1, 0))
		k.finish()
	case s.q.len == 0 && !k.draining:
		k.halfClose()
	}
}

func (k *sink) halfClose() {
	if k.closed {
		return
	}
	if err := k.app.CloseWrite(); err != nil && !errors.Is(err, unix.ENOTCONN) {
		k.broken = err
	}
	k.finish()
}

// drainLater has the queue written when the socket takes bytes again; rmu is held.
func (s *Stream) drainLater() {
	if !s.sink.draining {
		s.sink.draining = true
		go s.drain()
	}
}

// drain writes the queue to a socket that does not keep up.
func (s *Stream) drain() {
	k := s.sink
	err := k.raw.Write(func(fd uintptr) bool {
		n, done := s.drainOnce(int(fd))
		if n > 0 {
			s.credit(n)
		}
		return done
	})
	if err == nil {
		return
	}
	s.rmu.Lock()
	left := s.giveUp(err)
	s.rmu.Unlock()
	s.credit(left)
}

func (s *Stream) drainOnce(fd int) (n int, done bool) {
	s.rmu.Lock()
	defer s.rmu.Unlock()
	k := s.sink
	for s.q.len > 0 {
		var segs [16][]byte
		m, err := writev(fd, s.q.segments(segs[:0], len(segs)))
		k.count.Add(uint64(m))
		s.q.drop(m)
		n += m
		if err != nil {
			return n + s.giveUp(err), true
		}
		if m == 0 {
			return n, false
		}
	}
	k.draining = false
	if s.eof {
		k.halfClose()
	}
	return n, true
}

// giveUp drops what the socket will never take; rmu is held.
func (s *Stream) giveUp(err error) (dropped int) {
	dropped = s.q.len
	s.q.drop(dropped)
	s.sink.draining = false
	s.sink.result(0, err)
	return dropped
}

// writev writes what the socket takes now: 0 when it is full.
func writev(fd int, segs [][]byte) (total int, err error) {
	const most = 64
	for len(segs) > 0 {
		part := segs[:min(len(segs), most)]
		want := 0
		for _, p := range part {
			want += len(p)
		}
		var n int
		if len(part) == 1 {
			n, err = unix.Write(fd, part[0])
		} else {
			n, err = unix.Writev(fd, part)
		}
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return total, nil
		case err != nil:
			return total, err
		}
		total += n
		if n < want {
			return total, nil
		}
		segs = segs[len(part):]
	}
	return total, nil
}
