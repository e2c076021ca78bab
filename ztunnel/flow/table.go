package flow

import (
	"net/netip"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
)

// TableOptions of NewTable.
type TableOptions struct {
	// Metrics count the connections. Required.
	Metrics *telemetry.Metrics
	// Log gets a line per connection. nil: none.
	Log *telemetry.AccessLog
	// Spans get one of each connection whose trace is recorded. nil: none.
	Spans *spans.Exporter
	// TracePercentage of the connections that come without a trace begin a recorded one, where their service says nothing.
	TracePercentage float64
	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

// Table holds the live flows of one ztunnel.
type Table struct {
	metrics *telemetry.Metrics
	log     *telemetry.AccessLog
	spans   *spans.Exporter
	percent float64
	now     func() time.Time

	mu   sync.Mutex // protects the list and the ids
	root Flow       // sentinel of a ring
	n    int
	next uint64
}

// NewTable makes an empty table and hooks it into the metrics, so that bytes of living connections are
// counted at every scrape.
func NewTable(o TableOptions) *Table {
	if o.Now == nil {
		o.Now = time.Now
	}
	t := &Table{metrics: o.Metrics, log: o.Log, spans: o.Spans, percent: o.TracePercentage, now: o.Now}
	t.root.prev, t.root.next = &t.root, &t.root
	o.Metrics.OnScrape(func() { t.Each(func(f *Flow) { f.flush() }) })
	o.Metrics.GaugeFunc("connections_live", "Connections in this ztunnel now.", func() float64 { return float64(t.Len()) })
	return t
}

// Open puts f into the table. It must End.
func (t *Table) Open(f *Flow) {
	f.table = t
	if f.Labels == nil && !f.IsEstablished() {
		f.Labels = &telemetry.Labels{}
	}
	if f.Start.IsZero() {
		f.Start = t.now()
	}
	t.mu.Lock()
	t.next++
	f.id = t.next
	f.prev, f.next = t.root.prev, &t.root
	f.prev.next, f.next.prev = f, f
	t.n++
	t.mu.Unlock()
}

func (t *Table) remove(f *Flow) {
	t.mu.Lock()
	f.prev.next, f.next.prev = f.next, f.prev
	f.prev, f.next = nil, nil
	t.n--
	t.mu.Unlock()
}

// Len is the number of live flows.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// Each calls do for every live flow, without holding the table's lock.
func (t *Table) Each(do func(*Flow)) {
	t.mu.Lock()
	all := make([]*Flow, 0, t.n)
	for f := t.root.next; f != &t.root; f = f.next {
		all = append(all, f)
	}
	t.mu.Unlock()
	for _, f := range all {
		do(f)
	}
}

// Kill cuts every flow of one pod, or of all pods when uid is empty.
func (t *Table) Kill(uid string, cause *Failure) {
	t.Each(func(f *Flow) {
		if uid == "" || f.PodUID == uid {
			f.Kill(cause)
		}
	})
}

// View is one live flow as the admin page shows it.
type View struct {
	ID        uint64             `json:"id"`
	Pod       string             `json:"pod"`
	Direction Direction          `json:"direction"`
	Since     time.Time          `json:"since"`
	Source    string             `json:"source"`
	SourceID  string             `json:"sourceIdentity,omitempty"`
	Dest      string             `json:"destination"`
	DestID    string             `json:"destinationIdentity,omitempty"`
	Dialled   netip.AddrPort     `json:"dialled,omitzero"`
	Service   string             `json:"service,omitempty"`
	Waypoint  string             `json:"waypoint,omitempty"`
	Security  telemetry.Security `json:"security"`
	Sent      uint64             `json:"bytesSent"`
	Received  uint64             `json:"bytesReceived"`
}

// Views lists the established flows, oldest first.
func (t *Table) Views() []View {
	out := []View{}
	t.Each(func(f *Flow) {
		f.flushMu.Lock() // Established publishes the handler's fields under it
		ready := f.series != nil
		f.flushMu.Unlock()
		if !ready {
			return
		}
		out = append(out, View{
			ID: f.id, Pod: f.Pod, Direction: f.Direction, Since: f.Start, Source: endText(f.Source), SourceID: f.Source.Identity,
			Dest: endText(f.Dest), DestID: f.Dest.Identity, Dialled: f.Host, Service: f.Service, Waypoint: f.Via,
			Security: f.labelled().Security, Sent: f.Sent.Load(), Received: f.Received.Load(),
		})
	})
	return out
}

func endText(e telemetry.End) string {
	s := e.Workload
	if e.Address.IsValid() {
		if s != "" {
			s += " "
		}
		s += e.Address.String()
	}
	return s
}
