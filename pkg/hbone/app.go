package hbone

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/record"
)

// app is an application's socket that a shard owns together with the tunnel of its stream: the outlet of the
// stream, and the way from the application into the tunnel. Its fields belong to the shard.
type app struct {
	slot
	*ending
	outflow
	t    *tunnel
	fd   int
	done func(error)

	up       error // why nothing comes from the application any more, if it has not
	upEnded  bool  // finished
	owned    bool
	readable bool // there may be something to read
	failed   bool // epoll saw an error
	ended    bool // or the end
	big      bool // its last message was one
	gone     bool
	lent     bool // another process may have a copy of fd

	waits  bool // in one of t's lines,
	behind *app // before this one
	left   int  // of its turn
}

const (
	payload = record.MaxPayload
	// small is what is read at first: one record. Whoever fills it has more to say.
	small = payload - engine.HeaderLen
)

func (a *app) event(ev uint32) {
	if ev&unix.EPOLLOUT != 0 {
		a.drain()
	}
	a.ended = a.ended || ev&evEnd != 0
	a.failed = a.failed || ev&unix.EPOLLERR != 0
	a.t.failing = a.t.failing || a.failed
	if ev&^unix.EPOLLOUT != 0 {
		a.readable = true
		a.send()
	}
	a.check()
}

func (a *app) turn() {
	if a.gone {
		return
	}
	if !a.owned {
		a.begin()
	}
	a.send()
	a.check()
}

// begin takes the socket over.
func (a *app) begin() {
	a.owned, a.readable = true, true
	a.up = a.t.sh.own(a.fd, a)
	c := a.s.c
	c.mu.Lock()
	a.s.app = a
	c.mu.Unlock()
	a.s.attach(a)
}

// send moves what the application has sent into the tunnel's buffer: at once what may be small, and else in its turn.
func (a *app) send() {
	t := a.t
	next := more
	if !a.waits && !a.big {
		_, next = a.read(small)
	}
	switch {
	case a.waits: // its turn comes
	case next == more:
		t.line.push(a)
	case next == blocked:
		t.front.push(a)
	default:
		return
	}
	t.soil()
}

// next is what to do about an application after a read.
type next uint8

const (
	// drained: nothing, until there is news of it.
	drained next = iota
	// more: there may be more to be read.
	more
	// blocked: the tunnel has no room, or window, for anybody.
	blocked
)

// read moves at most want bytes.
func (a *app) read(want int) (int, next) {
	t, s, c := a.t, a.s, a.s.c
	if a.gone || a.upEnded || a.up != nil || !a.readable || t.closed {
		return 0, drained
	}
	if !t.roomFor(want) {
		return 0, blocked
	}
	c.mu.Lock()
	if err := s.broken(); err != nil {
		c.mu.Unlock()
		a.up = err
		return 0, drained
	}
	if want = min(want, c.eng.Sendable(s.es)); want == 0 {
		if c.eng.Exhausted() {
			c.mu.Unlock()
			return 0, blocked
		}
		s.asleep = true
		c.mu.Unlock()
		a.mourn()
		return 0, drained
	}
	if c.pending() || t.out.Due() {
		t.sealPending() // the stream's headers may be among it
	}
	segs, total := t.slots(want)
	n, e := t.sh.vec.read(a.fd, segs)
	if n <= 0 {
		c.mu.Unlock()
		a.nothing(e)
		return 0, drained
	}
	c.eng.PutData(t.buf[t.tail+record.HeaderLen:], s.es, n)
	a.big = c.noteSize(s, n, n == total)
	t.holding, t.shared = c.eng.Holding(), len(c.waiting) > 0
	c.mu.Unlock()
	t.sealFrame(n)
	t.soil()
	a.o.ToTunnel.Add(uint64(n))
	s.sent(n)
	if n < total && !a.ended {
		a.readable = false
		return n, drained
	}
	return n, more
}

// nothing deals with a read that brought none.
func (a *app) nothing(e unix.Errno) {
	switch {
	case e == unix.EAGAIN:
		a.readable = false
	case e != 0:
		a.up = os.NewSyscallError("read", e)
	default:
		if a.up = a.s.lost(); a.up == nil {
			a.up = a.s.CloseWrite()
			a.upEnded = true
		}
	}
}

// mourn notices that the application is gone while nobody reads from it.
func (a *app) mourn() {
	if !a.failed {
		return
	}
	e, err := unix.GetsockoptInt(a.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && e == 0 {
		e = int(unix.ECONNRESET) // a write was told
	}
	a.up = os.NewSyscallError("read", unix.Errno(e))
}

// write is of outlet.
func (a *app) write(segs [][]byte) (n int) {
	if a.broken != nil || a.gone {
		return 0
	}
	for len(segs) > 0 {
		part := segs[:min(len(segs), maxSegs)]
		m, total, e := a.t.sh.vec.write(a.fd, part)
		if e == unix.EAGAIN {
			break
		}
		if e != 0 {
			return a.result(a, n, e)
		}
		if n += m; m < total {
			break
		}
		segs = segs[len(part):]
	}
	return a.result(a, n, nil)
}

func (a *app) drainLater() {}

// drain writes the queue to a socket that takes bytes again.
func (a *app) drain() {
	if a.gone || !a.owned {
		return
	}
	a.s.rmu.Lock()
	draining := a.draining
	a.s.rmu.Unlock()
	if !draining {
		return
	}
	if n, _ := a.s.drainOnce(a.fd); n > 0 {
		a.s.credit(n)
	}
}

func (a *app) halfClose() {
	if !a.upEnded { // else it is closed in a moment
		if err := unix.Shutdown(a.fd, unix.SHUT_WR); err != nil && err != unix.ENOTCONN {
			a.broken = err
		}
	}
	a.finish(a)
}

func (a *app) finished() { a.t.sh.post(a) }
func (a *app) cut()      { a.t.sh.post(a) }

// check ends the splice when both directions have ended, or one has broken.
func (a *app) check() {
	if a.gone || !a.owned {
		return
	}
	s := a.s
	s.rmu.Lock()
	broken, reset, closed := a.broken, s.reset, a.closed
	s.rmu.Unlock()
	whole := a.upEnded && closed
	if !whole && a.up == nil && reset == nil && a.cause.Load() == nil {
		return
	}
	a.gone = true
	a.t.failing = a.t.failing || a.waits // it has a place that it needs no more
	a.t.sh.disown(a.fd)
	err, hard := a.verdict(errors.Join(a.up, broken), reset)
	hangUp(a.fd, a.lent, hard)
	s.c.mu.Lock()
	s.app = nil
	s.c.mu.Unlock()
	a.release()
	a.done(err)
}

// spliceOn has the shard of t own the application's socket.
func (t *tunnel) spliceOn(e *ending, c App, done func(error)) {
	a := &app{ending: e, t: t, done: done}
	a.count = e.o.ToApp
	var err error
	if a.fd, err = takeFD(c); err != nil {
		a.release()
		a.s.Reset()
		done(fmt.Errorf("%w: %w", ErrApp, err))
		return
	}
	a.t.sh.post(a)
}
