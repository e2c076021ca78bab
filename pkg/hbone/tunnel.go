package hbone

import (
	"errors"
	"io"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/record"
)

// tunnel is the driver of a connection that a shard owns. Its fields belong to the shard but for those that say
// otherwise.
type tunnel struct {
	slot
	c       *conn
	sh      *shard
	fd      int
	in      *record.In
	out     *record.Out
	surplus []byte // ciphertext that came with the handshake's end

	begun   atomic.Bool // start was called
	expired atomic.Bool // no more time for last words

	owned      bool
	part       []byte // from sh.parts: the beginning of a record
	partLen    int
	buf        []byte // from sh.outs: sealed records; nil when all were written
	head, tail int    // what of it is still to be written
	full       bool   // the socket takes nothing
	holding    bool   // small messages pass: bulk moves in smaller pieces
	shared     bool   // some stand in line who use Write
	ended      bool   // epoll saw the end of the input, or an error
	eof        bool   // the input has been read to its end
	said       bool   // the last words are in buf
	half       bool   // our direction is closed
	left       int    // input that is still thrown away at the end
	fault      error  // of the records, for the alert
	isDirty    bool
	isListed   bool // in sh.again
	unread     bool // there may be more input
	lent       bool // another process may have a copy of fd
	closed     bool // under c.mu, too, when it is set
	timer      *time.Timer

	front   line   // applications that wait with a small message, or for the first time,
	line    line   // and those that have more
	served  uint64 // the shard's turn in which they were served last,
	quota   int    // and what is left of what they may have in it
	failing bool   // epoll saw an error of somebody who may be in line, or somebody in line is gone
}

const (
	// outSlots is how many records of applications' bytes are written at once.
	outSlots = 64
	// heldSlots is the same while small messages pass, which wait behind it.
	heldSlots = 6
	stride    = record.MaxPayload + record.Overhead
	// outReserve behind them takes what the connection itself has to say.
	outReserve = 24 * stride
	outSize    = outSlots*stride + outReserve
	partSize   = record.MaxRecord
)

func newTunnel(sh *shard, c *conn, fd int, s *record.Session) *tunnel {
	return &tunnel{c: c, sh: sh, fd: fd, in: s.In, out: s.Out, surplus: s.Surplus, left: discardMost}
}

func (t *tunnel) start() {
	t.begun.Store(true)
	t.sh.post(t)
}

func (t *tunnel) kick()  { t.sh.post(t) }
func (t *tunnel) flush() { t.sh.post(t) }
func (t *tunnel) end()   { t.sh.post(t) }

func (t *tunnel) unflushed() bool { return false }

// drop closes a connection that no shard has seen.
func (t *tunnel) drop() { unix.Close(t.fd) }

func (t *tunnel) near() bool {
	if t.closed {
		return false
	}
	i, err := unix.GetsockoptTCPInfo(t.fd, unix.SOL_TCP, unix.TCP_INFO)
	return err == nil && time.Duration(i.Min_rtt)*time.Microsecond < nearPath
}

// turn begins with a new connection, and else flushes.
func (t *tunnel) turn() {
	if t.closed || !t.begun.Load() {
		return
	}
	if !t.owned {
		t.owned = true
		if err := t.sh.own(t.fd, t); err != nil {
			t.c.fail(err)
		}
		if s := t.surplus; len(s) > 0 {
			t.surplus = nil
			t.keep(t.open(s))
		}
	}
	if t.unread {
		t.unread = false
		t.read()
	}
	t.soil()
}

// list has t take a turn after the next events.
func (t *tunnel) list() {
	if !t.isListed {
		t.isListed = true
		t.sh.again = append(t.sh.again, t)
	}
}

// soil has t flushed at the end of the turn.
func (t *tunnel) soil() {
	if !t.isDirty {
		t.isDirty = true
		t.sh.dirty = append(t.sh.dirty, t)
	}
}

func (t *tunnel) event(ev uint32) {
	if ev&unix.EPOLLOUT != 0 && t.full {
		t.full = false
		t.soil()
	}
	if ev&evEnd != 0 {
		t.ended = true
	}
	if ev&^unix.EPOLLOUT != 0 {
		t.read()
	}
}

// read reads what there is, and gives others a turn after a while.
func (t *tunnel) read() {
	for range t.reads() {
		if t.closed || t.eof || !t.readOnce() {
			return
		}
	}
	t.unread = true
	t.list()
}

// reads is how often the socket is read in one turn.
func (t *tunnel) reads() int {
	if t.holding {
		return 1
	}
	return 2
}

// readOnce reports that there may be more.
func (t *tunnel) readOnce() bool {
	buf := t.sh.in
	if t.holding {
		buf = buf[:heldIn]
	}
	n := copy(buf, t.part[:t.partLen])
	m, e := rawIO(unix.SYS_READ, t.fd, buf[n:])
	switch {
	case e == unix.EAGAIN:
		return false
	case e != 0:
		t.eof = true
		t.c.fail(t.c.refusal(os.NewSyscallError("read", e)))
		t.soil()
		return false
	case m == 0:
		t.eof = true
		t.c.fail(t.c.atEOF(t.c.refusal(t.in.Truncated())))
		t.soil()
		return false
	}
	t.keep(t.open(buf[:n+m]))
	return n+m == len(buf) || t.ended
}

// keep keeps the beginning of a record.
func (t *tunnel) keep(rest []byte) {
	if t.partLen = len(rest); t.partLen > 0 {
		if t.part == nil {
			t.part = t.sh.parts.get()
		}
		copy(t.part, rest)
	} else if t.part != nil {
		t.sh.parts.put(t.part)
		t.part = nil
	}
}

// open decrypts the records in b, handles what they bring, and returns the beginning of one that is not whole.
func (t *tunnel) open(b []byte) (rest []byte) {
	c, plain, all := t.c, t.sh.plain[:0], len(b)
	var err error
	for err == nil {
		var p []byte
		var n int
		if p, n, err = t.in.Open(b); n == 0 {
			break
		}
		if b = b[n:]; len(p) > 0 {
			plain = append(plain, p)
		}
	}
	t.sh.plain = plain
	c.mu.Lock()
	if c.err != nil { // nobody listens any more
		c.mu.Unlock()
		if t.left -= all; t.left <= 0 || errors.Is(err, io.EOF) {
			t.eof = true
			t.soil()
		}
		return nil
	}
	events := batches.Get().(*batch)
	var bad error
	now := c.env.clock.Now()
	for _, p := range plain {
		if bad = c.receive(events, p, now); bad != nil {
			break
		}
	}
	c.mu.Unlock()
	c.handle(events, bad)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			t.fault = err
		}
		c.fail(c.atEOF(c.refusal(err)))
	}
	t.soil()
	if err != nil || bad != nil {
		return nil
	}
	return b
}

// send sends what is pending, and closes in the end.
func (t *tunnel) send() {
	t.serve()
	for !t.full && !t.closed {
		t.gather()
		if t.fault != nil && !t.said {
			t.c.fail(t.fault)
			continue
		}
		if t.head == t.tail {
			break
		}
		t.push()
	}
	if t.closed {
		return
	}
	if t.buf != nil && t.head == t.tail {
		t.sh.outs.put(t.buf)
		t.buf, t.head, t.tail = nil, 0, 0
	}
	if t.said || t.full {
		t.finish()
	}
}

// sayGoodbye seals the last words; c.mu is held.
func (t *tunnel) sayGoodbye() {
	if t.said {
		return
	}
	t.said = true
	t.sealPending()
	t.make(2 * record.Overhead)
	t.tail = len(t.out.AppendEnd(t.buf[:t.tail], t.fault))
	t.timer = time.AfterFunc(lastWords, func() {
		t.expired.Store(true)
		t.sh.post(t)
	})
}

// finish closes the connection when its last words are out, or nobody takes them.
func (t *tunnel) finish() {
	c := t.c
	c.mu.Lock()
	over := c.err != nil
	c.mu.Unlock()
	if !over {
		return
	}
	if t.full && !t.eof && !t.expired.Load() {
		return
	}
	if t.said && !t.full && c.faulty() && !t.eof && !t.expired.Load() {
		// It may still be sending, and a reset would overtake the GOAWAY that tells it why.
		if !t.half {
			t.half = true
			_ = unix.Shutdown(t.fd, unix.SHUT_WR)
		}
		return
	}
	t.close()
}

func (t *tunnel) close() {
	t.c.mu.Lock()
	t.closed = true
	t.c.mu.Unlock()
	if t.timer != nil {
		t.timer.Stop()
	}
	t.release()
	t.c.settle()
	close(t.c.done)
}

// release gives back what t holds.
func (t *tunnel) release() {
	t.sh.disown(t.fd)
	hangUp(t.fd, t.lent, false)
	if t.buf != nil {
		t.sh.outs.put(t.buf)
	}
	t.keep(nil)
	t.buf, t.front, t.line = nil, line{}, line{}
}
