package engine

import "time"

// beginData checks a DATA frame against its stream's state and takes its length from the windows.
func (c *Conn) beginData() error {
	f := c.frame
	c.pad = 0
	if f.has(flagPadded) {
		if f.length == 0 {
			return connErr(FrameSizeError, "padded frame without a padding length")
		}
		c.pad = -1
	}
	if f.stream == 0 || c.isIdle(f.stream) {
		return connErr(ProtocolError, "DATA on stream %d, which is not open", f.stream)
	}
	if int64(f.length) > c.recvWindow {
		return connErr(FlowControlError, "DATA beyond the connection's window")
	}
	c.recvWindow -= int64(f.length)
	s := c.streams[f.stream]
	if s == nil || s.has(gotEnd) || (c.o.Client && !s.has(gotHeaders)) {
		c.returnCredit() // nobody will consume it
		return c.strayData(s)
	}
	if f.length > int(s.recvWindow) {
		c.returnCredit()
		return c.kill(s, FlowControlError)
	}
	if f.length == 0 && !f.has(flagEndStream) {
		if err := c.flood(floodEmptyData, "DATA frames without data"); err != nil {
			return err
		}
	}
	s.recvWindow -= int32(f.length)
	s.held += int32(f.length)
	c.floods[floodPing].pay(f.length >> 12) // some measure the path while they send
	c.held += f.length
	c.returnCredit()
	return nil
}

// strayData answers DATA that no open stream expects. What a stream that we have reset still had under way
// is not the peer's fault.
func (c *Conn) strayData(s *Stream) error {
	id := c.frame.stream
	switch {
	case s != nil && s.has(gotEnd):
		return c.kill(s, StreamClosed)
	case s != nil: // the answer to a request must begin with headers
		return c.kill(s, ProtocolError)
	case c.refused(id):
		return nil
	}
	if lately, peerKnew := c.endedLately(id); peerKnew {
		c.out = appendUint32Frame(c.out, frameRST, id, uint32(StreamClosed))
		return c.flood(floodBad, "DATA on streams that the peer itself has ended")
	} else if lately {
		return c.flood(floodStray, "DATA on streams that have ended")
	}
	return connErr(StreamClosed, "DATA on stream %d, which ended long ago", id)
}

// data hands on a DATA frame's payload as it comes.
func (c *Conn) data(p []byte) (rest []byte, err error) {
	if c.pad < 0 {
		if len(p) == 0 {
			return nil, nil
		}
		c.pad = int(p[0])
		c.left--
		p = p[1:]
		if c.pad > c.left {
			return nil, connErr(ProtocolError, "%d bytes of padding in a frame of %d", c.pad, c.frame.length)
		}
		c.consumed(c.frame.stream, 1+c.pad)
	}
	if n := min(c.left-c.pad, len(p)); n > 0 {
		if s := c.streams[c.frame.stream]; s != nil && !s.has(gotEnd) {
			c.emit(Event{Kind: Data, Stream: s, Data: p[:n:n]})
		}
		c.left -= n
		p = p[n:]
	}
	if c.left > 0 && c.left <= c.pad {
		n := min(c.left, len(p))
		c.left -= n
		c.pad -= n
		p = p[n:]
	}
	if c.left > 0 {
		return nil, nil
	}
	c.rawLen, c.frames, c.waiting = 0, true, time.Time{}
	if s := c.streams[c.frame.stream]; s != nil && c.frame.has(flagEndStream) && !s.has(gotEnd) {
		c.ended(s)
	}
	return p, nil
}

func (c *Conn) consumed(id uint32, n int) {
	if s := c.streams[id]; s != nil {
		c.Consumed(s, n)
	}
}

// ended notes that the peer has ended its direction.
func (c *Conn) ended(s *Stream) {
	s.flags |= gotEnd
	c.emit(Event{Kind: End, Stream: s})
	c.settle(s)
}
