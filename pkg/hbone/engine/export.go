package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// StateVersion is of State's fields and of what they mean. Whatever changes either changes it; Import takes no
// other.
const StateVersion = 1

// ErrState: what was to be imported is no state of a connection, or one of another version.
var ErrState = errors.New("not the state of an HTTP/2 connection")

// State is a connection on its way to another process: plain data. Times are ages, since the clocks of two
// processes need not agree; never stands for the zero time.
type State struct {
	Version int
	// Options that the peer was told, so that they go on to hold whatever the importer's are.
	Options Options
	// Out are frames that have not been taken.
	Out []byte

	// Input: where in a frame, and in a header block, the connection stands.
	Preface    int
	Raw        []byte
	Left, Pad  int
	Body       []byte
	Waiting    time.Duration
	Settled    bool
	Block      *BlockState
	Early      [][]byte // header blocks that may have filled the decoder's table
	Floods     []BucketState
	Resets     BucketState
	LastPeerID uint32

	// Output.
	NextID      uint32
	SizeUpdate  bool
	PeerMax     uint32
	PeerFrame   int
	PeerWindow  int32
	SendWindow  int64
	RecvWindow  int64
	Hold        bool
	Grain       int64
	Streams     []StreamState
	Closed      []uint32
	ClosedNext  uint8
	SentGoAway  bool
	GoAwayLast  uint32
	GotGoAway   bool
	LastReceive time.Duration
	SettingsAt  time.Duration
	PingAt      time.Duration
	IdleSince   time.Duration
}

// StreamState is a stream of a State.
type StreamState struct {
	ID                                       uint32
	SendWindow, RecvWindow, Unreturned, Held int32
	Flags                                    uint8
}

// BlockState is a header block whose end is still to come.
type BlockState struct {
	Stream uint32
	End    bool
	Frames int
	Bytes  []byte
}

// BucketState is a bucket that leaks.
type BucketState struct {
	Level int
	At    time.Duration
}

const never = time.Duration(-1)

func age(t, now time.Time) time.Duration {
	if t.IsZero() {
		return never
	}
	return max(0, now.Sub(t))
}

// Export describes the connection, between two calls of anything else; it stays as it is. ended are streams
// that are over, but of which the driver still holds bytes: all others that are over count as consumed. A
// connection that has failed cannot be exported, nor one whose peer has filled a table of headers beyond bounds
// before it heard that it has none: such a connection has to end where it is.
func (c *Conn) Export(now time.Time, ended ...*Stream) (*State, error) {
	switch {
	case c.failed != nil:
		return nil, fmt.Errorf("export a connection: %w", c.failed)
	case c.early.over:
		return nil, fmt.Errorf("export a connection: its peer has not acknowledged SETTINGS and has sent more than %d bytes of headers", earlyMost)
	}
	s := &State{
		Version: StateVersion, Options: c.o, Out: slices.Clone(c.out),
		Preface: c.preface, Raw: slices.Clone(c.raw[:c.rawLen]), Left: c.left, Pad: c.pad, Body: slices.Clone(c.body),
		Waiting: age(c.waiting, now), Settled: c.settled, Resets: c.resets.export(now), LastPeerID: c.lastPeerID,
		NextID: c.nextID, SizeUpdate: c.sizeUpdate, PeerMax: c.peerMax, PeerFrame: c.peerFrame, PeerWindow: c.peerWindow,
		SendWindow: c.sendWindow, RecvWindow: c.recvWindow, Hold: c.hold, Grain: c.grain,
		SentGoAway: c.sentGoAway, GoAwayLast: c.goAwayLast, GotGoAway: c.gotGoAway,
		LastReceive: age(c.lastReceive, now), SettingsAt: age(c.settingsAt, now), PingAt: age(c.pingAt, now), IdleSince: age(c.idleSince, now),
	}
	if c.block.open {
		s.Block = &BlockState{Stream: c.block.stream, End: c.block.end, Frames: c.block.frames, Bytes: slices.Clone(c.block.bytes)}
	}
	for _, b := range c.early.blocks {
		s.Early = append(s.Early, slices.Clone(b))
	}
	for i := range c.floods {
		s.Floods = append(s.Floods, c.floods[i].export(now))
	}
	for _, x := range c.streams {
		s.Streams = append(s.Streams, x.export())
	}
	slices.SortFunc(s.Streams, func(a, b StreamState) int { return int(a.ID) - int(b.ID) })
	for _, x := range ended {
		if x.has(gone) && x.held > 0 {
			s.Streams = append(s.Streams, x.export())
		}
	}
	if c.closed != nil {
		s.Closed, s.ClosedNext = slices.Clone(c.closed.ids[:]), c.closed.next
	}
	return s, nil
}

func (s *Stream) export() StreamState {
	return StreamState{ID: s.ID, SendWindow: s.sendWindow, RecvWindow: s.recvWindow, Unreturned: s.unreturned, Held: s.held, Flags: s.flags}
}

func (b *bucket) export(now time.Time) BucketState {
	if b.level == 0 {
		return BucketState{At: never}
	}
	return BucketState{Level: b.level, At: age(b.at, now)}
}

// Import goes on with a connection that was exported. now is of the importer's clock. streams are those of s, in
// its order, with no User yet; what they hold is the driver's to report as Consumed.
func Import(s *State, now time.Time) (c *Conn, streams []*Stream, err error) {
	if err := s.check(); err != nil {
		return nil, nil, err
	}
	at := func(d time.Duration) time.Time {
		if d == never {
			return time.Time{}
		}
		return now.Add(-d)
	}
	c = &Conn{
		o: s.Options, now: now, out: slices.Clone(s.Out),
		preface: s.Preface, rawLen: len(s.Raw), left: s.Left, pad: s.Pad, body: slices.Clone(s.Body),
		waiting: at(s.Waiting), settled: s.Settled, resets: bucket{s.Resets.Level, at(s.Resets.At)}, lastPeerID: s.LastPeerID,
		nextID: s.NextID, sizeUpdate: s.SizeUpdate, peerMax: s.PeerMax, peerFrame: s.PeerFrame, peerWindow: s.PeerWindow,
		sendWindow: s.SendWindow, recvWindow: s.RecvWindow, hold: s.Hold, grain: s.Grain, streams: map[uint32]*Stream{},
		sentGoAway: s.SentGoAway, goAwayLast: s.GoAwayLast, gotGoAway: s.GotGoAway,
		lastReceive: at(s.LastReceive), settingsAt: at(s.SettingsAt), pingAt: at(s.PingAt), idleSince: at(s.IdleSince),
	}
	copy(c.raw[:], s.Raw)
	if c.rawLen == HeaderLen {
		c.frame = parseHeader(&c.raw)
	}
	if b := s.Block; b != nil {
		c.block = headerBlock{open: true, stream: b.Stream, end: b.End, frames: b.Frames, bytes: slices.Clone(b.Bytes)}
	}
	for i, b := range s.Floods {
		c.floods[i] = bucket{b.Level, at(b.At)}
	}
	if s.Closed != nil {
		c.closed = &recent{next: s.ClosedNext}
		copy(c.closed.ids[:], s.Closed)
	}
	for _, b := range s.Early {
		if _, err := c.unpack(b); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrState, err)
		}
	}
	for _, x := range s.Streams {
		n := &Stream{ID: x.ID, sendWindow: x.SendWindow, recvWindow: x.RecvWindow, unreturned: x.Unreturned, held: x.Held, flags: x.Flags}
		if streams = append(streams, n); !n.has(gone) {
			c.streams[n.ID] = n
		}
		c.held += int(n.held)
	}
	c.returnCredit() // for what was left behind
	return c, streams, nil
}
