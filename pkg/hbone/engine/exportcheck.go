package engine

import "fmt"

// check refuses what would break the engine's promises. It cannot tell a state that is wrong from one that is
// right: that is the exporter's to see to.
func (s *State) check() error {
	bad := func(what string, v any) error { return fmt.Errorf("%w: %s %v", ErrState, what, v) }
	o := s.Options
	switch {
	case s.Version != StateVersion:
		return bad("its version is", s.Version)
	case o != o.withDefaults() || o.MaxHeaders < 0 || o.StreamWindow < 0 || o.Budget < 0:
		return bad("its options are", o)
	case s.Preface < 0 || s.Preface > len(Preface) || o.Client && s.Preface > 0:
		return bad("bytes of preface are", s.Preface)
	case len(s.Raw) > HeaderLen || s.Left < 0 || s.Left > o.MaxFrame || s.Pad < -1 || s.Pad > 255 || s.Pad > s.Left:
		return bad("its frame has left", s.Left)
	case len(s.Body) > max(o.MaxHeaders, minFrame) || len(s.Early) > earlyCount || s.Block != nil && len(s.Block.Bytes) > o.MaxHeaders:
		return bad("bytes of frames are", len(s.Body))
	case len(s.Floods) != floodKinds || s.Closed != nil && len(s.Closed) != len(recent{}.ids):
		return bad("its counters are", len(s.Floods))
	case s.PeerFrame < minFrame || s.PeerFrame > 1<<24-1 || s.PeerWindow < 0 || s.RecvWindow < 0 || s.RecvWindow > int64(o.ConnWindow) || s.SendWindow < 0 || s.SendWindow > maxWindow:
		return bad("its windows are", s.SendWindow)
	case s.NextID%2 == 0 || s.NextID > maxWindow || s.Grain < 0:
		return bad("its next stream is", s.NextID)
	}
	seen := map[uint32]bool{}
	for _, x := range s.Streams {
		mine := o.Client && x.ID < s.NextID || !o.Client && x.ID <= s.LastPeerID
		known := uint8(sentHeaders | gotHeaders | sentEnd | gotEnd | gotReset | gone | heldBack | heldLong)
		if x.ID%2 == 0 || !mine || seen[x.ID] || x.Flags&^known != 0 || x.Held < 0 || x.Held > o.StreamWindow || x.RecvWindow < 0 || x.RecvWindow > o.StreamWindow || x.Unreturned < 0 {
			return bad("a stream is", x)
		}
		seen[x.ID] = true
	}
	if len(seen) > o.MaxStreams+maxEnded {
		return bad("its streams are", len(seen))
	}
	return nil
}

// maxEnded bounds the streams that are over, but of which bytes are still held.
const maxEnded = 1 << 16
