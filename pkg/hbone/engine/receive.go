package engine

import "time"

// Receive takes what arrived and appends to evs what the driver must know. The data events point into p.
// An error is a *ConnError and final; the events before it count nevertheless.
func (c *Conn) Receive(p []byte, now time.Time, evs []Event) ([]Event, error) {
	if c.failed != nil {
		return evs, c.failed
	}
	c.now, c.lastReceive = now, now
	c.pingAt = time.Time{} // whatever it says, the peer lives
	c.evs, c.frames = evs, false
	err := c.parse(p)
	evs, c.evs = c.evs, nil
	if err != nil {
		return evs, c.fail(err)
	}
	c.watchRest()
	return evs, nil
}

// watchRest notes since when the rest of something is awaited. Data may trickle: its bytes are progress.
func (c *Conn) watchRest() {
	switch {
	case c.preface > 0 || c.block.open:
		if c.waiting.IsZero() {
			c.waiting = c.now
		}
	case c.rawLen == 0 || c.rawLen == HeaderLen && c.frame.typ == frameData:
		c.waiting = time.Time{}
	case c.frames || c.waiting.IsZero():
		c.waiting = c.now
	}
}

func (c *Conn) parse(p []byte) error {
	for {
		switch {
		case c.preface > 0:
			if len(p) == 0 {
				return nil
			}
			n := min(len(p), c.preface)
			at := len(Preface) - c.preface
			if string(p[:n]) != Preface[at:at+n] {
				return connErr(ProtocolError, "no HTTP/2 preface: does the peer speak HTTP/1.1?")
			}
			c.preface -= n
			p = p[n:]
			continue
		case c.rawLen < HeaderLen:
			if len(p) == 0 {
				return nil
			}
			n := copy(c.raw[c.rawLen:], p)
			c.rawLen += n
			p = p[n:]
			if c.rawLen < HeaderLen {
				return nil
			}
			if err := c.begin(); err != nil {
				return err
			}
		}
		var err error
		if c.frame.typ == frameData {
			p, err = c.data(p)
		} else {
			p, err = c.collect(p)
		}
		if err != nil {
			return err
		}
		if c.rawLen != 0 { // the frame's rest has not arrived
			return nil
		}
	}
}

// begin checks a frame's header.
func (c *Conn) begin() error {
	c.frame = parseHeader(&c.raw)
	f := c.frame
	c.left = f.length
	if f.length > c.o.MaxFrame {
		return connErr(FrameSizeError, "frame of %d bytes, %d are accepted", f.length, c.o.MaxFrame)
	}
	if !c.settled && (f.typ != frameSettings || f.has(flagAck)) {
		return connErr(ProtocolError, "the first frame is not SETTINGS")
	}
	if c.block.open && (f.typ != frameContinuation || f.stream != c.block.stream) {
		return connErr(ProtocolError, "header block interrupted by another frame")
	}
	switch f.typ {
	case frameData:
		return c.beginData()
	case frameHeaders, frameContinuation:
		if f.length > c.o.MaxHeaders {
			return c.flood(floodHeaders, "header block of more than %d bytes", c.o.MaxHeaders)
		}
	default:
		if f.length > minFrame { // no other frame that means something to us is longer
			return connErr(FrameSizeError, "control frame of %d bytes", f.length)
		}
	}
	return nil
}

// collect gathers a frame that is no DATA, and handles it when it is whole.
func (c *Conn) collect(p []byte) (rest []byte, err error) {
	n := min(c.left, len(p))
	c.left -= n
	body := p[:n]
	if c.left > 0 || len(c.body) > 0 {
		c.body = append(c.body, body...)
		if c.left > 0 {
			return nil, nil
		}
		body = c.body
	}
	c.done()
	err = c.handle(c.frame, body)
	if cap(c.body) > 1<<10 {
		c.body = nil
	}
	c.body = c.body[:0]
	return p[n:], err
}

func (c *Conn) done() {
	c.rawLen = 0
	c.frames = true
	if !c.block.open {
		c.waiting = time.Time{}
	}
}

func (c *Conn) handle(f frameHeader, p []byte) error {
	switch f.typ {
	case frameHeaders:
		return c.onHeaders(f, p)
	case frameContinuation:
		return c.onContinuation(f, p)
	case frameRST:
		return c.onReset(f, p)
	case frameSettings:
		return c.onSettings(f, p)
	case framePing:
		return c.onPing(f, p)
	case frameGoAway:
		return c.onGoAway(f, p)
	case frameWindowUpdate:
		return c.onWindowUpdate(f, p)
	case framePriority:
		return c.onPriority(f, p)
	case framePushPromise:
		return connErr(ProtocolError, "PUSH_PROMISE, which nobody may send here")
	}
	return c.flood(floodOther, "frames of unknown types")
}
