package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/weftmesh/weft/e2e/soak/calls"
)

// tallies is what came of all calls so far.
type tallies struct {
	mu       sync.Mutex // protects all
	outcomes map[string]map[string]int
	failures []calls.Failure
	more     int // failures that are not listed
}

func (t *tallies) add(one calls.Tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outcomes == nil {
		t.outcomes = map[string]map[string]int{}
	}
	for kind, outcomes := range one.Outcomes {
		if t.outcomes[kind] == nil {
			t.outcomes[kind] = map[string]int{}
		}
		for o, n := range outcomes {
			t.outcomes[kind][o] += n
		}
	}
	for _, f := range one.Failures {
		t.failures = append(t.failures, f)
		t.more += f.More
	}
}

func (t *tallies) total() (good, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, outcomes := range t.outcomes {
		for _, n := range outcomes {
			good += n
		}
	}
	return good, len(t.failures) + t.more
}

// keepCalling lets a pod call until the context ends. The caller's own end is a problem: nothing restarts
// the pods that call.
func (s *soak) keepCalling(ctx context.Context, role calls.Role, pod string) {
	for ctx.Err() == nil {
		err := s.callFrom(ctx, role, pod)
		if ctx.Err() == nil {
			s.finds.add("the caller in %s ended: %v", pod, err)
			pause(ctx, 5*time.Second)
		}
	}
}

func (s *soak) callFrom(ctx context.Context, role calls.Role, pod string) error {
	cmd := s.inPod(ctx, pod, "weft-soak", "call", "-rate", fmt.Sprint(s.o.rate), string(role))
	var said lastText
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	for dec := json.NewDecoder(out); ; {
		var t calls.Tally
		if dec.Decode(&t) != nil {
			break
		}
		s.calls.add(t)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// lastText keeps the end of what is written.
type lastText struct{ text []byte }

func (l *lastText) Write(p []byte) (int, error) {
	l.text = append(l.text, p...)
	l.text = l.text[max(0, len(l.text)-4096):]
	return len(p), nil
}

func (l *lastText) String() string { return string(l.text) }

// judgeCalls holds failures against the windows in which something was done to the mesh.
func (s *soak) judgeCalls() (excused int) {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	unexpected := map[string]int{}
	for _, f := range s.calls.failures {
		if s.life.excuse(f) {
			excused += 1 + f.More
			continue
		}
		unexpected[f.Kind] += 1 + f.More
		if unexpected[f.Kind] <= 3 {
			s.finds.add("at %.1f s a call failed (%s, after %d ms): %s", f.At.Sub(s.began).Seconds(), f.Kind, f.At.Sub(f.Since).Milliseconds(), f.Error)
		}
	}
	for kind, n := range unexpected {
		if n > 3 {
			s.finds.add("%d calls failed in all: %s", n, kind)
		}
	}
	return excused
}

// judgeFault checks that the Fault drew as it should: 30 % of what it applies to.
func (s *soak) judgeFault() {
	s.calls.mu.Lock()
	defer s.calls.mu.Unlock()
	got := s.calls.outcomes["catalog, HTTP"]
	n := got[calls.OK] + got[calls.Faulted]
	// Five standard deviations of n draws of 30 %: chance fails this once in two million runs.
	if d := float64(got[calls.Faulted]) - 0.3*float64(n); d*d > 25*0.21*float64(n) || n == 0 {
		s.finds.add("of %d calls of the catalog %d were aborted by the Fault, want about 30 %%", n, got[calls.Faulted])
	}
}
