package hbone

import (
	"errors"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// pending reports output; mu is held.
func (c *conn) pending() bool {
	return c.eng.Pending() > 0 || len(c.bulk) > 0 || c.w.unflushed()
}

// flush writes what is pending, if nobody does; mu is held, and given up meanwhile. What others append
// during the write is left to a goroutine of its own, so that the caller gets back to its stream.
func (c *conn) flush() {
	if c.writing || c.err != nil || !c.pending() {
		return
	}
	c.writing = true
	c.writeOnce()
	if c.err != nil || c.pending() {
		go c.writeLoop()
		return
	}
	c.writing = false
}

// kick has what is pending written by another goroutine; mu is held. The reader must not write: two
// readers that wait for each other's sockets would never read again.
func (c *conn) kick() {
	if !c.writing && c.err == nil && c.pending() {
		c.writing = true
		go c.writeLoop()
	}
}

func (c *conn) writeLoop() {
	c.mu.Lock()
	for c.err == nil && c.pending() {
		c.writeOnce()
	}
	if c.err == nil {
		c.writing = false
		c.mu.Unlock()
		return
	}
	// The end: say goodbye and close. writing stays set, nobody follows.
	out := c.eng.Take()
	c.mu.Unlock()
	if len(out) > 0 {
		if _, err := c.tls.Write(out); err == nil {
			_ = c.w.flush() // nobody is left to be told
		}
	}
	if c.tls.CloseWrite() == nil {
		_ = c.w.flush()
	}
	c.hangUp()
	close(c.bye)
	c.settle()
}

// hangUp closes the socket, or only our direction of it where the peer may still be sending: a reset would
// overtake the GOAWAY that tells it why.
func (c *conn) hangUp() {
	half, ok := c.w.Conn.(interface{ CloseWrite() error })
	if ok && errors.As(c.err, new(*engine.ConnError)) { // final, so read without the lock
		_ = half.CloseWrite()
		return
	}
	c.w.Close()
}

// writeOnce encrypts and writes what is pending; mu is held, but not while it works.
func (c *conn) writeOnce() {
	urgent, bulk, buf := c.eng.Take(), c.bulk, c.bulkBuf
	c.bulk, c.bulkBuf = nil, nil
	c.bulkGen++
	c.wakeWaiting()
	c.since = c.env.clock.Now()
	c.mu.Unlock()
	c.recent.Add(uint64(len(bulk)))
	err := c.encrypt(urgent, bulk)
	c.env.plain.put(buf)
	c.mu.Lock()
	c.eng.Recycle(urgent)
	if err != nil {
		c.failLocked(c.refusalLocked(err))
	}
}

func (c *conn) encrypt(urgent, bulk []byte) error {
	if len(urgent) > 0 {
		if _, err := c.tls.Write(urgent); err != nil {
			return err
		}
	}
	if len(bulk) > 0 {
		if _, err := c.tls.Write(bulk); err != nil {
			return err
		}
	}
	return c.w.flush()
}

// room is how much payload of s, at most want, can be taken now; mu is held. 0: wait.
func (c *conn) room(s *Stream, want int) int {
	n := min(c.eng.Sendable(s.es), want)
	if n == 0 {
		return 0
	}
	if n <= smallMessage && s.inBulk != c.bulkGen && c.eng.Pending() < urgentMax-2*smallMessage {
		return n
	}
	left := c.env.limits.Batch - len(c.bulk) - engine.HeaderLen
	if left < smallMessage && left < n {
		return 0
	}
	return min(n, left)
}

// space is where a DATA frame of n bytes of s may be put together; mu is held.
func (c *conn) space(n int) []byte {
	if c.bulkBuf == nil {
		c.bulkBuf = c.env.plain.get()
		c.bulk = (*c.bulkBuf)[:0]
	}
	return c.bulk[len(c.bulk) : len(c.bulk)+engine.HeaderLen+n]
}

// commit makes a DATA frame of the n bytes of payload in the first bytes of frame, which came from space.
func (c *conn) commit(s *Stream, frame []byte, n int) {
	if n <= smallMessage && s.inBulk != c.bulkGen && c.eng.Pending() < urgentMax-2*smallMessage {
		c.eng.Send(s.es, frame[engine.HeaderLen:engine.HeaderLen+n])
		c.dropSpace()
		return
	}
	c.eng.PutData(frame, s.es, n)
	c.bulk = c.bulk[:len(c.bulk)+engine.HeaderLen+n]
	s.inBulk = c.bulkGen
}

// dropSpace gives back a buffer that stayed empty.
func (c *conn) dropSpace() {
	if len(c.bulk) == 0 && c.bulkBuf != nil {
		c.env.plain.put(c.bulkBuf)
		c.bulk, c.bulkBuf = nil, nil
	}
}

// endStream ends our direction of s, behind its data; mu is held.
func (c *conn) endStream(s *Stream) {
	if s.inBulk == c.bulkGen { // slack has room for the ends of all streams
		c.bulk = c.eng.AppendEnd(c.bulk, s.es)
		return
	}
	c.eng.End(s.es)
}

// wait makes s be woken when there may be room; mu is held.
func (c *conn) wait(s *Stream) <-chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	if !s.asleep {
		s.asleep = true
		if c.eng.Sendable(s.es) > 0 {
			c.waiting = append(c.waiting, s)
		}
	}
	return s.wake
}

// wakeWaiting wakes those who wait for room; mu is held.
func (c *conn) wakeWaiting() {
	for i, s := range c.waiting {
		s.wakeUp()
		c.waiting[i] = nil
	}
	c.waiting = c.waiting[:0]
}

// windowOpened wakes those who wait for a window; mu is held.
func (c *conn) windowOpened(es *engine.Stream) {
	if es == nil {
		c.wakeAll()
	} else if s, ok := es.User.(*Stream); ok {
		s.wakeUp()
	}
}

func (c *conn) wakeAll() {
	c.eng.Each(func(es *engine.Stream) {
		if s, ok := es.User.(*Stream); ok {
			s.wakeUp()
		}
	})
	c.wakeWaiting()
}
