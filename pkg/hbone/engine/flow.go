package engine

// Consumed says that n received bytes of s are no longer held by the driver, so that the peer may send as
// many more.
func (c *Conn) Consumed(s *Stream, n int) {
	n = min(n, int(s.held)) // 0 once the stream was reset
	if n <= 0 {
		return
	}
	s.held -= int32(n)
	c.release(n)
	if s.has(gotEnd) || s.has(gone) {
		return
	}
	s.unreturned += int32(n)
	if s.unreturned >= c.o.StreamWindow/4 {
		c.out = appendUint32Frame(c.out, frameWindowUpdate, s.ID, uint32(s.unreturned))
		s.recvWindow += s.unreturned
		s.unreturned = 0
	}
}

func (c *Conn) release(n int) {
	c.held -= n
	c.returnCredit()
}

// returnCredit opens the connection's window again, but for what is held beyond the budget.
func (c *Conn) returnCredit() {
	n := int64(c.o.ConnWindow) - c.recvWindow - int64(max(0, c.held-c.o.Budget))
	if n >= int64(c.o.ConnWindow)/4 {
		c.out = appendUint32Frame(c.out, frameWindowUpdate, 0, uint32(n))
		c.recvWindow += n
	}
}

func (c *Conn) onWindowUpdate(f frameHeader, p []byte) error {
	if len(p) != 4 {
		return connErr(FrameSizeError, "WINDOW_UPDATE of %d bytes", len(p))
	}
	if err := c.flood(floodWindow, "WINDOW_UPDATE frames"); err != nil {
		return err
	}
	n := int64(uint32(p[0])<<24|uint32(p[1])<<16|uint32(p[2])<<8|uint32(p[3])) & maxWindow
	if f.stream == 0 {
		return c.growConn(n)
	}
	s := c.streams[f.stream]
	switch {
	case s == nil && c.isIdle(f.stream):
		return connErr(ProtocolError, "WINDOW_UPDATE on stream %d, which is not open", f.stream)
	case s == nil:
		return nil
	case n == 0:
		return c.kill(s, ProtocolError)
	case int64(s.sendWindow)+n > maxWindow:
		return c.kill(s, FlowControlError)
	}
	was := s.sendWindow
	s.sendWindow += int32(n)
	c.credited(n)
	if (was <= 0 || s.has(heldBack)) && c.allowed(s) > 0 {
		s.flags &^= heldBack | heldLong
		c.emit(Event{Kind: Window, Stream: s})
	}
	return nil
}

func (c *Conn) growConn(n int64) error {
	if n == 0 {
		return connErr(ProtocolError, "WINDOW_UPDATE by 0")
	}
	was := c.sendWindow
	c.sendWindow += n
	if c.sendWindow > maxWindow {
		return connErr(FlowControlError, "the connection's window grew beyond 2^31-1")
	}
	if was <= 0 {
		c.emit(Event{Kind: Window})
	}
	return nil
}

// resizeWindows applies a changed initial window to every stream.
func (c *Conn) resizeWindows(v uint32) error {
	d := int64(v) - int64(c.peerWindow)
	c.peerWindow = int32(v)
	for _, s := range c.streams {
		w := int64(s.sendWindow) + d
		if w > maxWindow {
			return connErr(FlowControlError, "a stream's window grew beyond 2^31-1")
		}
		s.sendWindow = int32(max(w, -maxWindow))
	}
	if d > 0 {
		c.emit(Event{Kind: Window})
	}
	return nil
}

// Sendable is how many bytes of payload a single DATA frame of s may carry now; 0: wait for a Window event.
func (c *Conn) Sendable(s *Stream) int {
	if s.has(sentEnd|gone) || c.failed != nil || !s.has(sentHeaders) {
		return 0
	}
	if c.hold && s.sendWindow > 0 && c.allowed(s) <= 0 {
		s.flags |= heldBack
	}
	return int(max(0, min(c.allowed(s), c.sendWindow, int64(c.peerFrame), int64(c.o.MaxSend))))
}

// Exhausted reports that no stream can send before the connection's window opens, of which a Window event without a
// Stream tells.
func (c *Conn) Exhausted() bool { return c.sendWindow <= 0 }

// Ready reports that s may send as far as it is concerned itself: only the connection's window could forbid it.
func (c *Conn) Ready(s *Stream) bool {
	return !s.has(sentEnd|gone) && s.has(sentHeaders) && c.failed == nil && c.allowed(s) > 0
}

// PutData writes the header of a DATA frame with n bytes of payload, n <= Sendable, to b[:HeaderLen] and
// takes them from the windows. The caller puts the payload behind it.
func (c *Conn) PutData(b []byte, s *Stream, n int) {
	appendHeader(b[:0], n, frameData, 0, s.ID)
	s.sendWindow -= int32(n)
	c.sendWindow -= int64(n)
	c.floods[floodWindow].pay(1 + n>>10)
}

// AppendEnd ends our direction of s by an empty DATA frame appended to b, which must be written after all
// data of s. It does nothing when the direction has ended already.
func (c *Conn) AppendEnd(b []byte, s *Stream) []byte {
	if s.has(sentEnd | gone) {
		return b
	}
	b = appendHeader(b, 0, frameData, flagEndStream, s.ID)
	s.flags |= sentEnd
	c.settle(s)
	return b
}

// Send appends a DATA frame with p, len(p) <= Sendable, to the frames that Take hands out: for short
// messages, which go in front of what the driver keeps.
func (c *Conn) Send(s *Stream, p []byte) {
	at := len(c.out)
	c.out = append(c.out, make([]byte, HeaderLen)...)
	c.PutData(c.out[at:], s, len(p))
	c.out = append(c.out, p...)
}

// End is AppendEnd to the frames that Take hands out.
func (c *Conn) End(s *Stream) { c.out = c.AppendEnd(c.out, s) }
