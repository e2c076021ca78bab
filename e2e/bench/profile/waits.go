package profile

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"golang.org/x/exp/trace"
)

// Wait is how long goroutines of one kind that could run had to wait until they did.
type Wait struct {
	Times         int           `json:"times"`
	P50, P99, Max time.Duration `json:"-"`
	Total         time.Duration `json:"-"`
	Running       time.Duration `json:"-"` // how long they ran
}

func (w Wait) String() string {
	return fmt.Sprintf("%d times, p50 %v, p99 %v, longest %v, %v in all; ran %v", w.Times, w.P50.Round(time.Microsecond), w.P99.Round(time.Microsecond),
		w.Max.Round(time.Microsecond), w.Total.Round(time.Millisecond), w.Running.Round(time.Millisecond))
}

// scheduled is what is known of a goroutine.
type scheduled struct {
	kind     string
	since    trace.Time // of its state
	runnable bool
	running  bool
}

// waiting sums up a trace.
type waiting struct {
	kinds map[string]*Wait
	all   map[string][]time.Duration
	known map[trace.GoID]*scheduled
}

// Waits reads a Go execution trace. Goroutines are of a kind whose name is held by a function of their stack; what is not
// of any kind is "others".
func Waits(r io.Reader, kinds map[string]string) (map[string]*Wait, error) {
	in, err := trace.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("execution trace: %w", err)
	}
	w := &waiting{kinds: map[string]*Wait{}, all: map[string][]time.Duration{}, known: map[trace.GoID]*scheduled{}}
	for {
		ev, err := in.ReadEvent()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("execution trace: %w", err)
		}
		if ev.Kind() != trace.EventStateTransition {
			continue
		}
		if st := ev.StateTransition(); st.Resource.Kind == trace.ResourceGoroutine {
			w.change(ev, st, kinds)
		}
	}
	for kind, times := range w.all {
		slices.Sort(times)
		k := w.of(kind)
		k.Times, k.P50, k.P99, k.Max = len(times), times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	}
	return w.kinds, nil
}

func (w *waiting) of(kind string) *Wait {
	if w.kinds[kind] == nil {
		w.kinds[kind] = &Wait{}
	}
	return w.kinds[kind]
}

func (w *waiting) change(ev trace.Event, st trace.StateTransition, kinds map[string]string) {
	id := st.Resource.Goroutine()
	g := w.known[id]
	if g == nil {
		g = &scheduled{}
		w.known[id] = g
	}
	if g.kind == "" {
		g.kind = kindIn(st.Stack, kinds)
	}
	kind := g.kind
	if kind == "" {
		kind = "others"
	}
	took := time.Duration(ev.Time() - g.since)
	from, to := st.Goroutine()
	switch {
	case g.running && from == trace.GoRunning:
		w.of(kind).Running += took
	case g.runnable && from == trace.GoRunnable && to == trace.GoRunning:
		w.all[kind] = append(w.all[kind], took)
		w.of(kind).Total += took
	}
	g.since, g.runnable, g.running = ev.Time(), to == trace.GoRunnable, to == trace.GoRunning
	if to == trace.GoNotExist {
		delete(w.known, id)
	}
}

// kindIn is the kind of a goroutine with a stack.
func kindIn(s trace.Stack, kinds map[string]string) string {
	for f := range s.Frames() {
		for kind, name := range kinds {
			if strings.Contains(f.Func, name) {
				return kind
			}
		}
	}
	return ""
}
