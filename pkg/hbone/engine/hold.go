package engine

const (
	// holdLeast is how much of a stream may always be under way.
	holdLeast = 256 << 10
	// holdAhead is sent beyond what the peer consumes before it says so.
	holdAhead = 128 << 10
)

// Hold keeps every stream from filling the peer's window while it is on: what lies unread in the sockets
// between us is what small messages wait behind, and a window may be many times what a short path needs.
// After it was switched off, streams may be able to send for which no Window event comes.
func (c *Conn) Hold(on bool) { c.hold = on }

// Holding reports that Hold is on.
func (c *Conn) Holding() bool { return c.hold }

// allowed is what a stream's window and Hold leave it; it may be negative.
//
// A peer gives credit back in pieces, whose size (grain) is known only from what it did. Before it has given
// back anything half a window is assumed, as much as any peer that we know. A stream that waits has more
// than a piece under way, so that one comes back.
func (c *Conn) allowed(s *Stream) int64 {
	w := int64(s.sendWindow)
	if !c.hold {
		return w
	}
	grain := c.grain
	if grain == 0 {
		grain = int64(c.peerWindow) / 2
	}
	return w - max(0, int64(c.peerWindow)-max(holdLeast, grain+holdAhead))
}

// credited learns from n bytes of credit for a stream. A piece may be greater than it had to be.
func (c *Conn) credited(n int64) {
	if c.grain == 0 || n < c.grain {
		c.grain = n
	} else {
		c.grain += (n - c.grain) / 16
	}
}

// Loosen, called once a second while Hold is on, sees to it that a peer whose pieces have grown does not
// stop us for ever. It reports that streams may be able to send for which no Window event comes.
func (c *Conn) Loosen() (loosened bool) {
	for _, s := range c.streams {
		switch {
		case s.has(heldLong):
			loosened = true
			s.flags &^= heldBack | heldLong
		case s.has(heldBack):
			s.flags |= heldLong
		}
	}
	if loosened {
		c.grain = min(2*max(c.grain, holdLeast), int64(c.peerWindow))
	}
	return loosened
}
