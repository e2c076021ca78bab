package telemetry

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Series counts the connections of one label set. Its methods are safe for concurrent use and cost one
// atomic add. Every Acquire is paired with one Release.
type Series struct {
	opened, closed, sent, received atomic.Uint64

	labels Labels
	pairs  []*dto.LabelPair // shared by the four counters, never changed
	refs   int              // under seriesTable.mu
	used   time.Time        // last Release, under seriesTable.mu
}

// Opened counts a connection that was accepted.
func (s *Series) Opened() { s.opened.Add(1) }

// Closed counts its end.
func (s *Series) Closed() { s.closed.Add(1) }

// Sent counts bytes from the source to the destination, whoever reports.
func (s *Series) Sent(bytes uint64) { s.sent.Add(bytes) }

// Received counts bytes from the destination to the source.
func (s *Series) Received(bytes uint64) { s.received.Add(bytes) }

// Labels of this series.
func (s *Series) Labels() Labels { return s.labels }

// seriesTable holds the series of a Metrics.
type seriesTable struct {
	mu       sync.Mutex // protects byLabels and refs, used of each series
	byLabels map[Labels]*Series

	max       int
	idleAfter time.Duration
	now       func() time.Time
	desc      *prometheus.Desc // any of the four: they share their labels
	overflows atomic.Uint64
	onScrape  []func() // set before the first scrape
}

func (t *seriesTable) acquire(l Labels) *Series {
	l = l.normal()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byLabels[l]
	if s == nil && len(t.byLabels) >= t.max {
		t.overflows.Add(1)
		l = l.overflow()
		s = t.byLabels[l] // few of these exist: reporter × security × flags
	}
	if s == nil {
		s = &Series{labels: l, pairs: prometheus.MakeLabelPairs(t.desc, l.values())}
		t.byLabels[l] = s
	}
	s.refs++
	return s
}

func (t *seriesTable) release(s *Series) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.refs--
	s.used = t.now()
}

// expire forgets series that nobody holds and nobody has used for idleAfter. It returns how many.
func (t *seriesTable) expire() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, n := t.now().Add(-t.idleAfter), 0
	for l, s := range t.byLabels {
		if s.refs == 0 && s.used.Before(old) {
			delete(t.byLabels, l)
			n++
		}
	}
	return n
}

func (t *seriesTable) all() []*Series {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*Series, 0, len(t.byLabels))
	for _, s := range t.byLabels {
		out = append(out, s)
	}
	return out
}
