package hbone

import (
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// Who sends what next. Output leaves in bulks of at most Limits.Batch bytes. While one is encrypted and
// written, the next is filled:
//
//   - streams that want more than there is get equal shares of it; where there are too many, they stand in line, and
//     only so many at a time are asked for theirs (guests);
//   - a small message of a stream that has sent only such lately is taken in any case, and goes in front,
//     unless data of its own stream lies in the bulk already: it waits for the one bulk that is being
//     written, and no more;
//   - on short paths, where windows are many times what a path holds, bulk keeps them part empty for as long
//     as small messages pass (engine.Hold): otherwise those would wait in the sockets instead.

const (
	// smallMessage is the longest that may go in front of bulk.
	smallMessage = 4 << 10
	// frontRoom is how much of a bulk counts as its front.
	frontRoom = 16 << 10
	// urgentMax bounds what goes in front of bulk.
	urgentMax = 64 << 10
	// leastShare of a bulk that a stream gets.
	leastShare = 16 << 10
	// calmBulks is how many bulks long a stream counts as one that sends big messages.
	calmBulks = 16
	// holdFor is how long after a small message bulk is held back.
	holdFor = 100 * time.Millisecond
	// nearPath is the round trip up to which a path is short.
	nearPath = time.Millisecond
)

// first reports that a small message of s, which is calm, may go in front of bulk; mu is held.
func (c *conn) first(s *Stream) bool {
	return s.inBulk != c.bulkGen && c.eng.Pending() < urgentMax-2*smallMessage
}

// calm reports that s has sent nothing big lately, so that its small messages are no rests of that.
func (c *conn) calm(s *Stream) bool { return c.bulkGen-s.bigGen > calmBulks }

// noteSize notes how big a message of s was, or a part of one; mu is held.
func (c *conn) noteSize(s *Stream, n int, part bool) (big bool) {
	switch {
	case n > smallMessage || part:
		s.bigGen = c.bulkGen
		c.bulky.Add(uint64(n))
		return true
	case n < smallMessage && c.calm(s):
		c.hold()
	}
	return false
}

// room is how much payload of s, at most want, can be taken now; mu is held. 0: wait.
func (c *conn) room(s *Stream, want int) int {
	n := min(c.eng.Sendable(s.es), want)
	if n == 0 {
		return 0
	}
	left := c.share
	if s.inBulk == c.bulkGen {
		left -= s.bulkLen
	}
	if len(c.waiting) > 0 && !s.guest {
		left = 0
	}
	left = min(left, c.env.limits.Batch-len(c.bulk)-engine.HeaderLen)
	if c.calm(s) && c.first(s) {
		left = max(left, smallMessage) // slack has room for one until it is sent in front
	}
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

// commit makes a DATA frame of the n bytes of payload in the first bytes of frame, which came from space. part tells
// that they are of a message for all of which there was no room.
func (c *conn) commit(s *Stream, frame []byte, n int, part bool) {
	c.leave(s)
	calm := c.calm(s)
	c.noteSize(s, n, part)
	if calm && n <= smallMessage && len(c.bulk) > frontRoom && c.first(s) {
		c.eng.Send(s.es, frame[engine.HeaderLen:engine.HeaderLen+n])
		if part { // the rest goes the common way
			s.inBulk, s.bulkLen = c.bulkGen, n
		}
		return
	}
	c.eng.PutData(frame, s.es, n)
	c.bulk = c.bulk[:len(c.bulk)+engine.HeaderLen+n]
	if s.inBulk != c.bulkGen {
		s.inBulk, s.bulkLen = c.bulkGen, 0
	}
	s.bulkLen += n
}

// wait makes s be woken when there may be room; mu is held.
func (c *conn) wait(s *Stream) <-chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	s.asleep = true
	switch ready := c.eng.Ready(s.es); {
	case !ready:
		c.pass(s) // its window will wake it
	case s.guest: // too many were asked
		c.leave(s)
		s.waits = true
		c.waiting = slices.Insert(c.waiting, 0, s)
	case !s.waits:
		s.waits = true
		c.waiting = append(c.waiting, s)
	}
	return s.wake
}

// invite wakes as many of those who wait as there is room for in a bulk; mu is held. Each of them takes his share, or
// lets another have it: see leave and pass.
func (c *conn) invite() {
	most, i := c.env.limits.Batch/c.share, 0
	for ; i < len(c.waiting) && c.guests < most && !c.eng.Exhausted(); i++ {
		s := c.waiting[i]
		if s.waits = false; !s.asleep {
			continue // it was woken by something else
		}
		if s.app == nil { // a shard's has a line of its own
			s.guest = true
			c.guests++
		}
		s.wakeUp()
	}
	c.waiting = slices.Delete(c.waiting, 0, i)
}

// leave takes s from among the guests; mu is held.
func (c *conn) leave(s *Stream) {
	if s.guest {
		s.guest = false
		c.guests--
	}
}

// pass has another come in the place of s, which has nothing to send after all; mu is held.
func (c *conn) pass(s *Stream) {
	if s.guest {
		c.leave(s)
		c.invite()
	}
}

// dropSpace gives back a buffer that stayed empty because s had nothing to send after all.
func (c *conn) dropSpace(s *Stream) {
	c.pass(s)
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

// hold makes way for small messages for a while; mu is held.
func (c *conn) hold() {
	c.smallAt = c.env.clock.Now()
	if c.near {
		c.eng.Hold(true)
	}
}

// letGo lets bulk have its windows again when no small messages pass; mu is held.
func (c *conn) letGo(now time.Time) {
	if c.eng.Holding() && now.Sub(c.smallAt) >= holdFor {
		c.eng.Hold(false)
		c.wakeSendable()
	}
}
