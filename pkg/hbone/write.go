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
		go c.loop()
		return
	}
	c.writing = false
}

// kick has what is pending written by another goroutine; mu is held. The reader must not write: two
// readers that wait for each other's sockets would never read again.
func (c *conn) kick() {
	if !c.writing && c.err == nil && c.pending() {
		c.writing = true
		go c.loop()
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
	buf := c.bulkBuf
	urgent, bulk := c.takeOut()
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

// takeOut takes what is pending, urgent first, and begins the next bulk; mu is held.
func (c *conn) takeOut() (urgent, bulk []byte) {
	urgent, bulk = c.eng.Take(), c.bulk
	c.bulk, c.bulkBuf = nil, nil
	c.bulkGen++
	c.share = max(c.env.limits.Batch/(1+len(c.waiting)), leastShare)
	c.wakeWaiting()
	c.since = c.env.clock.Now()
	c.letGo(c.since)
	return urgent, bulk
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

// resetStream ends s both ways, behind the data that it has sent; mu is held.
func (c *conn) resetStream(s *Stream, code engine.Code) {
	if s.inBulk == c.bulkGen {
		c.bulk = c.eng.AppendReset(c.bulk, s.es, code)
		return
	}
	c.eng.Reset(s.es, code)
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
