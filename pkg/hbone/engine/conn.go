package engine

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/net/http2/hpack"
)

// Conn is one connection's state.
type Conn struct {
	o     Options
	out   []byte  // frames to be written
	spare []byte  // empty, for out
	evs   []Event // of the Receive under way
	now   time.Time

	// Input.
	preface    int // bytes of the client's preface still expected
	raw        [HeaderLen]byte
	rawLen     int         // bytes of raw that are there
	frame      frameHeader // valid once rawLen is HeaderLen
	left       int         // payload bytes of frame still to come
	pad        int         // of a DATA frame: trailing bytes that are padding; -1: its length byte is still to come
	body       []byte      // payload of a frame that came in pieces
	frames     bool        // some frame was completed in this Receive
	waiting    time.Time   // since when the rest of a frame or header block is awaited; zero: it is not
	settled    bool        // the peer's first SETTINGS is there
	block      headerBlock
	decoder    *hpack.Decoder
	decoding   fieldSink
	early      earlyBlocks
	floods     [floodKinds]bucket
	resets     bucket // that we sent
	lastPeerID uint32 // highest stream the peer opened

	// Output.
	nextID      uint32
	sizeUpdate  bool // the next header block must open with a table size of 0
	peerMax     uint32
	peerFrame   int
	peerWindow  int32
	sendWindow  int64
	recvWindow  int64
	hold        bool
	grain       int64 // about how much credit the peer gives back to a stream at a time; 0: not known
	held        int   // bytes of all streams that the driver has not consumed
	streams     map[uint32]*Stream
	closed      *recent
	sentGoAway  bool
	goAwayLast  uint32 // streams above are refused, once sentGoAway
	gotGoAway   bool
	failed      error
	lastReceive time.Time
	settingsAt  time.Time // when our SETTINGS left; zero once acknowledged
	pingAt      time.Time // when a PING left; zero: none is under way
	idleSince   time.Time // zero while there are streams, and until the Tick after the last
}

// New makes a connection whose first frames are ready to Take. now is any clock that only goes forward.
func New(o Options, now time.Time) *Conn {
	o = o.withDefaults()
	c := &Conn{
		o: o, now: now, nextID: 1, sizeUpdate: true,
		peerMax: 1<<32 - 1, peerFrame: minFrame, peerWindow: defaultWindow,
		sendWindow: defaultWindow, recvWindow: defaultWindow,
		streams: map[uint32]*Stream{}, lastReceive: now, settingsAt: now, idleSince: now,
	}
	if o.Client {
		c.out = append(c.out, Preface...)
	} else {
		c.preface = len(Preface)
		c.waiting = now
	}
	c.hello()
	return c
}

func (c *Conn) hello() {
	settings := []struct {
		id uint16
		v  uint32
	}{
		{settingTableSize, 0},
		{settingEnablePush, 0},
		{settingMaxStreams, uint32(c.o.MaxStreams)},
		{settingWindow, uint32(c.o.StreamWindow)},
		{settingMaxFrame, uint32(c.o.MaxFrame)},
		{settingMaxHeaders, uint32(c.o.MaxHeaders)},
	}
	if !c.o.Client { // a server may not send ENABLE_PUSH other than 0, and need not send it at all
		settings = append(settings[:1], settings[2:]...)
	} else {
		settings[2].v = 0 // no stream is the server's to open
	}
	c.out = appendHeader(c.out, 6*len(settings), frameSettings, 0, 0)
	for _, s := range settings {
		c.out = binary.BigEndian.AppendUint16(c.out, s.id)
		c.out = binary.BigEndian.AppendUint32(c.out, s.v)
	}
	c.returnCredit()
}

// Take hands out the control frames to be written, in order, and forgets them. The slice is the caller's.
func (c *Conn) Take() []byte {
	out := c.out
	c.out, c.spare = c.spare, nil
	return out
}

// Pending is how many bytes Take would hand out.
func (c *Conn) Pending() int { return len(c.out) }

// Recycle gives back a slice from Take for reuse, once it has been written. Tick frees what a silent
// connection does not need.
func (c *Conn) Recycle(b []byte) {
	switch {
	case cap(b) > recycleMost:
	case c.out == nil:
		c.out = b[:0]
	default:
		c.spare = b[:0]
	}
}

const (
	recycleMost = 128 << 10
	recycleIdle = 1 << 10
)

// Streams is how many streams are open.
func (c *Conn) Streams() int { return len(c.streams) }

// Each calls f with every open stream.
func (c *Conn) Each(f func(*Stream)) {
	for _, s := range c.streams {
		f(s)
	}
}

// IsSettled reports that the peer's SETTINGS have arrived: it has accepted the connection.
func (c *Conn) IsSettled() bool { return c.settled }

// GoAway tells the peer that no stream is taken any more; those that exist go on. The connection may be
// closed when Streams is 0.
func (c *Conn) GoAway() { c.goAway(NoError, "") }

// Draining reports that no new stream will be taken, by either side's wish.
func (c *Conn) Draining() bool { return c.sentGoAway || c.gotGoAway || c.failed != nil }

// Finished reports that nothing more will happen on the connection by our doing: it may be closed. A client
// that says goodbye to us closes it itself.
func (c *Conn) Finished() bool {
	return len(c.streams) == 0 && (c.sentGoAway || c.o.Client && c.gotGoAway)
}

func (c *Conn) goAway(code Code, debug string) {
	if c.sentGoAway && code == NoError {
		return
	}
	if !c.sentGoAway {
		c.goAwayLast = c.lastPeerID
	}
	c.sentGoAway = true
	c.out = appendHeader(c.out, 8+len(debug), frameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, c.goAwayLast)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
	c.out = append(c.out, debug...)
}

// fail ends the connection; the first error stays.
func (c *Conn) fail(err error) error {
	if c.failed != nil {
		return c.failed
	}
	var ce *ConnError
	if !errors.As(err, &ce) {
		ce = &ConnError{Code: InternalError, Reason: err.Error()}
	}
	c.goAway(ce.Code, ce.Reason)
	c.failed = ce
	return ce
}

func (c *Conn) emit(e Event) { c.evs = append(c.evs, e) }
