package engine

import (
	"encoding/binary"
	"time"
)

func (c *Conn) onSettings(f frameHeader, p []byte) error {
	switch {
	case f.stream != 0:
		return connErr(ProtocolError, "SETTINGS on stream %d", f.stream)
	case f.has(flagAck) && len(p) != 0, len(p)%6 != 0:
		return connErr(FrameSizeError, "SETTINGS of %d bytes", len(p))
	case f.has(flagAck):
		if c.settingsAt.IsZero() {
			return c.flood(floodSettings, "SETTINGS acknowledgements")
		}
		c.settingsAt, c.early = time.Time{}, earlyBlocks{}
		c.decoder0()
		return nil
	}
	if err := c.flood(floodSettings, "SETTINGS frames"); err != nil {
		return err
	}
	for ; len(p) >= 6; p = p[6:] {
		if err := c.set(binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	c.out = appendHeader(c.out, 0, frameSettings, flagAck, 0)
	if !c.settled {
		c.settled = true
		c.emit(Event{Kind: Settled})
	}
	return nil
}

func (c *Conn) set(id uint16, v uint32) error {
	switch id {
	case settingTableSize:
		c.sizeUpdate = true // we use no table, but strict decoders want to be told
	case settingEnablePush:
		if v > 1 || c.o.Client && v != 0 {
			return connErr(ProtocolError, "ENABLE_PUSH is %d", v)
		}
	case settingMaxStreams:
		c.peerMax = v
	case settingWindow:
		if v > maxWindow {
			return connErr(FlowControlError, "initial window of %d", v)
		}
		return c.resizeWindows(v)
	case settingMaxFrame:
		if v < minFrame || v > 1<<24-1 {
			return connErr(ProtocolError, "MAX_FRAME_SIZE is %d", v)
		}
		c.peerFrame = int(v)
	}
	return nil
}

func (c *Conn) onPing(f frameHeader, p []byte) error {
	switch {
	case f.stream != 0:
		return connErr(ProtocolError, "PING on stream %d", f.stream)
	case len(p) != 8:
		return connErr(FrameSizeError, "PING of %d bytes", len(p))
	case f.has(flagAck):
		return nil // Receive has noted that the peer lives
	}
	if err := c.flood(floodPing, "PING frames"); err != nil {
		return err
	}
	c.out = append(appendHeader(c.out, 8, framePing, flagAck, 0), p...)
	return nil
}

func (c *Conn) onGoAway(f frameHeader, p []byte) error {
	if f.stream != 0 {
		return connErr(ProtocolError, "GOAWAY on stream %d", f.stream)
	}
	if len(p) < 8 {
		return connErr(FrameSizeError, "GOAWAY of %d bytes", len(p))
	}
	last := binary.BigEndian.Uint32(p) & maxWindow
	c.gotGoAway = true
	c.emit(Event{Kind: GoAway, Code: Code(binary.BigEndian.Uint32(p[4:])), Data: p[8:]})
	if !c.o.Client {
		return nil
	}
	for id, s := range c.streams {
		if id > last {
			c.forget(s)
			c.emit(Event{Kind: Reset, Stream: s, Code: RefusedStream})
		}
	}
	return nil
}

func (c *Conn) onPriority(f frameHeader, p []byte) error {
	switch {
	case f.stream == 0:
		return connErr(ProtocolError, "PRIORITY on stream 0")
	case len(p) != 5:
		if s := c.streams[f.stream]; s != nil {
			return c.kill(s, FrameSizeError)
		}
		return connErr(FrameSizeError, "PRIORITY of %d bytes", len(p))
	case binary.BigEndian.Uint32(p)&maxWindow == f.stream:
		return c.selfDependent(f.stream)
	}
	return c.flood(floodPriority, "PRIORITY frames")
}

// selfDependent answers a stream that claims to depend on itself.
func (c *Conn) selfDependent(id uint32) error {
	if s := c.streams[id]; s != nil {
		return c.kill(s, ProtocolError)
	}
	if c.isIdle(id) {
		return connErr(ProtocolError, "stream %d depends on itself", id)
	}
	return nil
}

func (c *Conn) onReset(f frameHeader, p []byte) error {
	switch {
	case f.stream == 0 || c.isIdle(f.stream):
		return connErr(ProtocolError, "RST_STREAM on stream %d, which is not open", f.stream)
	case len(p) != 4:
		return connErr(FrameSizeError, "RST_STREAM of %d bytes", len(p))
	}
	s := c.streams[f.stream]
	if s == nil {
		if lately, knew := c.endedLately(f.stream); lately && !knew {
			c.remember(f.stream, true)
		}
		return c.flood(floodStray, "RST_STREAM on streams that have ended")
	}
	if !c.o.Client && !s.has(sentHeaders) {
		if err := c.flood(floodReset, "requests withdrawn before they were answered"); err != nil {
			return err
		}
	}
	s.flags |= gotReset
	c.forget(s)
	c.emit(Event{Kind: Reset, Stream: s, Code: Code(binary.BigEndian.Uint32(p))})
	return nil
}

// Reset ends s at once, both ways. It does nothing when the stream is gone.
func (c *Conn) Reset(s *Stream, code Code) {
	if s.has(gone) {
		return
	}
	c.out = appendUint32Frame(c.out, frameRST, s.ID, uint32(code))
	c.forget(s)
	c.spendReset()
}

// AppendReset is Reset by a frame appended to b, for what should not overtake the data of s there.
func (c *Conn) AppendReset(b []byte, s *Stream, code Code) []byte {
	if s.has(gone) {
		return b
	}
	b = appendUint32Frame(b, frameRST, s.ID, uint32(code))
	c.forget(s)
	c.spendReset()
	return b
}

// kill is Reset for a peer's fault; the driver is told.
func (c *Conn) kill(s *Stream, code Code) error {
	if err := c.flood(floodBad, "streams in error"); err != nil {
		return err
	}
	c.Reset(s, code)
	c.emit(Event{Kind: Reset, Stream: s, Code: code, Local: true})
	return nil
}

// isIdle reports that a stream was never opened, so that no frame may speak of it.
func (c *Conn) isIdle(id uint32) bool {
	if c.o.Client {
		return id%2 == 0 || id >= c.nextID
	}
	return id%2 == 0 || id > c.lastPeerID
}

// refused reports that a stream came after our GOAWAY.
func (c *Conn) refused(id uint32) bool { return c.sentGoAway && !c.o.Client && id > c.goAwayLast }
