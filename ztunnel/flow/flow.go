// Package flow keeps the live connections of a ztunnel: who, how many bytes, and how to cut them.
//
// A handler fills in a Flow, calls Table.Open when the connection came in, Established when bytes may
// move and End when it is over: exactly one End per Open. Kill may come from any goroutine at any
// moment; it resets the connection, whose handler then sees its relay fail and calls End, where the
// cause given to Kill wins. Metrics, the access log and spans are written here and nowhere else.
package flow

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
)

// Direction of a flow as its pod sees it.
type Direction string

// Directions.
const (
	Outbound         Direction = "outbound"
	Inbound          Direction = "inbound"
	InboundPlaintext Direction = "inbound-plaintext"
)

// Flow is one connection. Fields are set by its handler before Established and not changed afterwards.
type Flow struct {
	Pod       string // "namespace/name" of the pod on this node
	PodUID    string // and which one of that name, by the agent's uid
	Direction Direction
	Start     time.Time
	Source    telemetry.End
	Dest      telemetry.End
	Host      netip.AddrPort    // what the client dialled
	Service   string            // host name of the service dialled
	Via       string            // waypoint
	Carrier   string            // uid of the workload whose tunnel or port carries it, for one that its pod opened
	Labels    *telemetry.Labels // of its metrics, until Established; nil: Open makes empty ones
	DryRun    []string
	Retries   int    // endpoints that could not be reached before the last one
	Fault     string // Fault that acts on it, and how
	Trace     spans.Context

	// Sent and Received count bytes from the source to the destination and back, while they move.
	Sent, Received atomic.Uint64

	table      *Table
	id         uint64
	labels     unique.Handle[telemetry.Labels] // since Established, one for all flows with the same; under flushMu when it is set
	since      *time.Time                      // when it was established; nil unless its trace is recorded
	series     *telemetry.Series               // nil until Established
	mu         sync.Mutex                      // protects reset, cause, ended, decided
	reset      func()                          // cuts both sides at once
	cause      *Failure
	ended      bool
	decided    *policy.Conn // nil: no policy of a pod here governs this flow
	flushMu    sync.Mutex   // protects what follows
	sentTold   uint64       // bytes that series has counted
	recvTold   uint64
	prev, next *Flow // list of the table, under its lock
}

// OnKill says how to cut this flow; f runs at once when Kill came first. f must not block.
func (f *Flow) OnKill(reset func()) {
	f.mu.Lock()
	f.reset = reset
	killed := f.cause != nil && !f.ended
	f.mu.Unlock()
	if killed {
		reset()
	}
}

// Kill cuts the flow because of cause. Later kills and those after End do nothing.
func (f *Flow) Kill(cause *Failure) {
	f.mu.Lock()
	if f.ended || f.cause != nil {
		f.mu.Unlock()
		return
	}
	f.cause = cause
	reset := f.reset
	f.mu.Unlock()
	if reset != nil {
		reset()
	}
}

// Govern says which connection the pod's policies see. Call it before asking them, so that a change of
// policy at the same moment either is part of the answer or finds the flow here.
func (f *Flow) Govern(c policy.Conn) {
	f.mu.Lock()
	f.decided = &c
	f.mu.Unlock()
}

// Governed returns what Govern was given; ok is false where no policy governs this flow.
func (f *Flow) Governed() (c policy.Conn, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.decided == nil {
		return c, false
	}
	return *f.decided, f.decided.Dest.IsValid()
}

// Killed returns the cause given to Kill, nil while the flow may go on.
func (f *Flow) Killed() *Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// Established counts the connection as opened. Labels must be complete.
func (f *Flow) Established() {
	f.Labels.Flags = telemetry.FlagNone
	f.settle(*f.Labels)
	f.series.Opened()
	if f.traced() {
		now := f.table.now()
		f.since = &now
		f.table.spans.Add(f.opening(f.record(nil)))
	}
}

// IsEstablished reports that Established was called.
func (f *Flow) IsEstablished() bool {
	f.flushMu.Lock()
	defer f.flushMu.Unlock()
	return f.series != nil
}

// End takes the flow out of the table, counts it and writes the access log. cause is nil for a good end.
func (f *Flow) End(cause *Failure) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.ended = true
	f.reset = nil
	if f.cause != nil {
		cause = f.cause
	}
	f.mu.Unlock()
	f.table.remove(f)
	f.count(cause)
	if f.table.log == nil && !f.traced() {
		return
	}
	r := f.record(cause)
	f.table.log.Write(r)
	switch {
	case !f.traced():
	case f.since == nil:
		f.table.spans.Add(f.opening(r))
	default:
		f.table.spans.Add(f.carrying(r))
	}
}

// Forget takes the flow out of the table without a word: it goes on, and somebody else will tell of its end.
func (f *Flow) Forget() {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.ended, f.reset = true, nil
	f.mu.Unlock()
	f.table.remove(f)
	f.flush()
	if f.series != nil {
		f.table.metrics.Release(f.series)
	}
}

// count closes the connection in the metrics. One that was refused is opened and closed under its flag.
func (f *Flow) count(cause *Failure) {
	m := f.table.metrics
	f.flush()
	if f.series != nil && cause == nil {
		f.series.Closed()
		m.Release(f.series)
		return
	}
	labels := f.labelled()
	if cause != nil {
		labels.Flags = cause.Flag
	}
	s := m.Acquire(labels)
	if f.series == nil {
		s.Opened()
	} else {
		m.Release(f.series)
	}
	s.Closed()
	m.Release(s)
}

// flush tells the series what moved since the last time.
func (f *Flow) flush() {
	f.flushMu.Lock()
	defer f.flushMu.Unlock()
	if f.series == nil {
		return
	}
	sent, recv := f.Sent.Load(), f.Received.Load()
	if sent < f.sentTold || recv < f.recvTold {
		return // adopted just now: what moved before is being added
	}
	f.series.Sent(sent - f.sentTold)
	f.series.Received(recv - f.recvTold)
	f.sentTold, f.recvTold = sent, recv
}

func (f *Flow) record(cause *Failure) *telemetry.Record {
	r := &telemetry.Record{
		Time: f.Start, Duration: f.table.now().Sub(f.Start), Direction: string(f.Direction), Source: f.Source, Dest: f.Dest,
		Service: f.Service, Via: f.Via, Host: f.Host, Security: f.labelled().Security, Flags: telemetry.FlagNone,
		Sent: f.Sent.Load(), Received: f.Received.Load(), DryRun: f.DryRun, Retries: f.Retries, Fault: f.Fault,
		Trace: f.Trace.TraceID(),
	}
	if cause != nil {
		r.Flags, r.Cause, r.Hint, r.Policy = cause.Flag, cause.Cause, cause.Hint, cause.Policy
		if cause.Err != nil {
			r.Cause += ": " + cause.Err.Error()
		}
	}
	return r
}
