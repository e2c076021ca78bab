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

// sink is the outlet of the goroutine driver.
type sink struct {
	outflow
	s    *Stream
	app  App
	raw  syscall.RawConn
	over chan struct{} // closed when nothing more will be written

	segs [][]byte // of the write under way
	n    int
	err  error
	fn   func(uintptr) bool
}

func newSink(s *Stream, app App, raw syscall.RawConn, count *atomic.Uint64) *sink {
	k := &sink{outflow: outflow{count: count}, s: s, app: app, raw: raw, over: make(chan struct{})}
	k.fn = func(fd uintptr) bool {
		k.n, k.err = writev(int(fd), k.segs)
		return true
	}
	return k
}

func (k *sink) write(segs [][]byte) (n int) {
	if k.broken != nil {
		return 0
	}
	k.segs = segs
	err := k.raw.Write(k.fn)
	k.segs = nil
	return k.result(k, k.n, errors.Join(err, k.err))
}

func (k *sink) finished() { close(k.over) }

// cut has the goroutines that wait for the socket let go of it. The splice resets it.
func (k *sink) cut() { _ = k.app.SetDeadline(time.Unix(1, 0)) }

func (k *sink) halfClose() {
	if err := k.app.CloseWrite(); err != nil && !errors.Is(err, unix.ENOTCONN) {
		k.broken = err
	}
	k.finish(k)
}

func (k *sink) drainLater() { go k.drain() }

// drain writes the queue to a socket that does not keep up.
func (k *sink) drain() {
	s := k.s
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

// writev writes what the socket takes now: 0 when it is full.
func writev(fd int, segs [][]byte) (total int, err error) {
	for len(segs) > 0 {
		part := segs[:min(len(segs), maxSegs)]
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
