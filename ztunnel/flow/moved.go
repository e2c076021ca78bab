package flow

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
)

// StateVersion is of State: who adopts flows must have the same as who described them.
const StateVersion = 1

// State is an established flow on its way to another process: plain data, for encoding/gob.
type State struct {
	Key            uint64 // names it among those that travel together
	Pod, PodUID    string
	Direction      Direction
	Start          time.Time
	Source, Dest   telemetry.End
	Host           netip.AddrPort
	Service, Via   string
	Carrier        string
	Labels         telemetry.Labels
	DryRun         []string
	Retries        int
	Fault          string
	Trace          spans.Context
	Since          time.Time
	Governed       policy.Conn
	Sent, Received uint64
}

// Meta is the Key of the flow's State, as hbone carries it with a stream.
func (f *Flow) Meta() []byte { return binary.BigEndian.AppendUint64(nil, f.id) }

// KeyOf reads what Meta has made.
func KeyOf(meta []byte) (key uint64, ok bool) {
	if len(meta) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(meta), true
}

// States describe the flows that pick chooses by their keys, while nothing of them moves.
func (t *Table) States(pick func(key uint64) bool) (out []State) {
	t.Each(func(f *Flow) {
		if f.IsEstablished() && pick(f.id) {
			out = append(out, f.state())
		}
	})
	return out
}

func (f *Flow) state() State {
	c, _ := f.Governed()
	st := State{
		Key: f.id, Pod: f.Pod, PodUID: f.PodUID, Direction: f.Direction, Start: f.Start, Source: f.Source, Dest: f.Dest, Host: f.Host, Service: f.Service,
		Via: f.Via, Carrier: f.Carrier, Labels: f.labelled(), DryRun: f.DryRun, Retries: f.Retries, Fault: f.Fault, Trace: f.Trace,
		Governed: c, Sent: f.Sent.Load(), Received: f.Received.Load(),
	}
	if f.since != nil {
		st.Since = *f.since
	}
	return st
}

// Adopt puts a flow into the table that has come from another process, which has counted its opening and all that
// moved up to then. Sent and Received begin at zero: who moves the bytes adds what moved before.
func (t *Table) Adopt(s *State) *Flow {
	f := &Flow{
		Pod: s.Pod, PodUID: s.PodUID, Direction: s.Direction, Start: s.Start, Source: s.Source, Dest: s.Dest, Host: s.Host, Service: s.Service,
		Via: s.Via, Carrier: s.Carrier, DryRun: s.DryRun, Retries: s.Retries, Fault: s.Fault, Trace: s.Trace,
		sentTold: s.Sent, recvTold: s.Received,
	}
	if !s.Since.IsZero() {
		since := s.Since // pointers into s would keep all that came with it
		f.since = &since
	}
	if s.Governed.Dest.IsValid() {
		decided := s.Governed
		f.decided = &decided
	}
	f.table = t
	f.settle(s.Labels)
	t.Open(f)
	return f
}

// Over is End with what its relay has returned: nil for a good end. Of a flow that goes on in another process nothing
// is told, there it will be.
func (f *Flow) Over(err error) {
	if errors.Is(err, hbone.ErrMoved) {
		f.Forget()
		return
	}
	f.End(Broken(err))
}
