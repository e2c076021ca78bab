package engine

import "time"

const (
	sentHeaders = 1 << iota // the request or the final response
	gotHeaders
	sentEnd
	gotEnd
	gotReset
	gone     // out of the table
	heldBack // Sendable said 0 on account of Hold
	heldLong // and Loosen has seen it
)

// Stream is one CONNECT.
type Stream struct {
	// User is the driver's.
	User any
	// ID on the connection.
	ID uint32

	sendWindow int32 // what the peer still takes; negative after it shrank its windows
	recvWindow int32 // what the peer may still send
	unreturned int32 // consumed, not yet returned as credit
	held       int32 // received, not yet consumed
	flags      uint8
}

func (s *Stream) has(f uint8) bool { return s.flags&f != 0 }

// Gone reports that the stream has ended, one way or the other.
func (s *Stream) Gone() bool { return s.has(gone) }

// SentEnd reports that nothing more can be sent.
func (s *Stream) SentEnd() bool { return s.has(sentEnd) || s.has(gone) }

// GotEnd reports that the peer ended its direction.
func (s *Stream) GotEnd() bool { return s.has(gotEnd) }

// newStream enters a stream into the table.
func (c *Conn) newStream(id uint32) *Stream {
	s := &Stream{ID: id, sendWindow: c.peerWindow, recvWindow: c.o.StreamWindow}
	c.streams[id] = s
	c.idleSince = time.Time{} // Tick sets it again
	return s
}

// settle removes s when both directions have ended.
func (c *Conn) settle(s *Stream) {
	if s.has(sentEnd) && s.has(gotEnd) {
		c.forget(s)
	}
}

// forget removes s from the table. What the driver still holds of it no longer counts against the
// connection: it is the driver's to free.
func (c *Conn) forget(s *Stream) {
	if s.has(gone) {
		return
	}
	s.flags |= gone
	delete(c.streams, s.ID)
	c.remember(s.ID, s.has(gotEnd|gotReset))
	if s.has(sentEnd) && s.has(gotEnd) {
		return // its held bytes are still being read
	}
	c.release(int(s.held))
	s.held = 0
}

// recent is a ring of streams that ended lately: frames for them may still be on their way.
type recent struct {
	ids  [64]uint32 // the stream, times two, plus one if its peer knew the end when it sent its last frame
	next uint8
}

func (c *Conn) remember(id uint32, peerKnew bool) {
	if c.closed == nil {
		c.closed = new(recent)
	}
	c.closed.ids[c.closed.next%64] = id << 1
	if peerKnew {
		c.closed.ids[c.closed.next%64]++
	}
	c.closed.next++
}

// endedLately tells whether a stream ended lately, and whether its peer has no excuse for sending more.
func (c *Conn) endedLately(id uint32) (lately, peerKnew bool) {
	if c.closed == nil || id == 0 {
		return false, false
	}
	for _, x := range c.closed.ids {
		if x>>1 == id&maxWindow {
			lately, peerKnew = true, peerKnew || x&1 == 1
		}
	}
	return lately, peerKnew
}
