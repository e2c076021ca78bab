package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weftmesh/weft/e2e/soak/calls"
)

// life is what was done to the mesh, and when.
type life struct {
	mu       sync.Mutex // protects events
	events   []*event
	restarts map[string]int // of programs, on purpose
	rolls    map[string]int // of Deployments
}

// event is one thing that was done.
type event struct {
	What string    `json:"what"`
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Excuses says that calls which fail meanwhile are counted here; more than Allowed are a problem.
	Excuses  bool `json:"excuses"`
	Allowed  int  `json:"allowed"`
	Failures int  `json:"failures"`
	// Examples are some of the failures.
	Examples []calls.Failure `json:"examples,omitempty"`
}

// excuse finds the event during which a failed call may have failed, and counts it there. Of several it is
// the last, for a call ends by what happened last.
func (l *life) excuse(f calls.Failure) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range slices.Backward(l.events) {
		if e.Excuses && !f.At.Before(e.From) && !f.Since.After(e.To) {
			if e.Failures < 5 {
				e.Examples = append(e.Examples, f)
			}
			e.Failures += 1 + f.More
			return true
		}
	}
	return false
}

// live does things to the mesh until the context ends: restarts at the beginning only, so that the
// programs whose samples are judged are the same all along, then edits and rolls at equal distances.
func (s *soak) live(ctx context.Context) {
	s.life.restarts, s.life.rolls = map[string]int{}, map[string]int{}
	length := s.o.length
	edits, rolls := clamp(length/12, 30*time.Second, 2*time.Minute), clamp(length/8, 40*time.Second, 4*time.Minute)
	pause(ctx, length/15)
	s.do(ctx, event{What: "restart agent/n1", Excuses: true}, func() error { return s.restart(ctx, "agent/n1") })
	// A ztunnel that stops drains for 5 s, in which nothing new gets through, and then the next one starts.
	s.do(ctx, event{What: "restart ztunnel/n2", Excuses: true, Allowed: int(1000 * s.o.rate)}, func() error { return s.restart(ctx, "ztunnel/n2") })
	nextEdit, nextRoll := s.began.Add(max(edits, length/6)), s.began.Add(max(rolls, length/6))
	for round := 0; ctx.Err() == nil; {
		// What is not done well before the end would be judged without its consequences.
		if left := time.Until(s.began.Add(length)); left < 20*time.Second {
			return
		}
		switch now := time.Now(); {
		case now.After(nextEdit):
			s.do(ctx, event{What: "edit policy payments-callers, and back"}, func() error { return s.editPolicy(ctx) })
			nextEdit = nextEdit.Add(edits)
		case now.After(nextRoll):
			r := rolled[round%len(rolled)]
			s.do(ctx, event{What: "roll " + r.deployment, Excuses: true, Allowed: 5}, func() error { return s.roll(ctx, r) })
			nextRoll, round = nextRoll.Add(rolls), round+1
		default:
			pause(ctx, 200*time.Millisecond)
		}
	}
}

func clamp(d, low, high time.Duration) time.Duration { return min(max(d, low), high) }

// do runs one event and notes its time; its failure is a problem.
func (s *soak) do(ctx context.Context, e event, f func() error) {
	e.From = time.Now()
	s.life.mu.Lock()
	s.life.events = append(s.life.events, &e)
	e.To = e.From.Add(time.Hour) // until it is over
	s.life.mu.Unlock()
	err := f()
	s.life.mu.Lock()
	e.To = time.Now()
	s.life.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.finds.add("%s: %v", e.What, err)
	}
	s.say("%s: %.1f s", e.What, e.To.Sub(e.From).Seconds())
}

// restart ends a program in good order; the lab starts it again. It is over when every call goes as it
// should.
func (s *soak) restart(ctx context.Context, program string) error {
	st, err := s.lab.ReadState()
	if err != nil {
		return err
	}
	p := st.Programs[program]
	if p == nil {
		return fmt.Errorf("the lab has no program %s, only %v", program, st.ProgramNames())
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	s.life.mu.Lock()
	s.life.restarts[program]++
	s.life.mu.Unlock()
	if err := s.until(ctx, time.Minute, func() string {
		now, err := s.lab.ReadState()
		if err != nil {
			return err.Error()
		}
		if q := now.Programs[program]; q == nil || q.PID == p.PID || !q.Alive() {
			return "it does not run again"
		}
		return ""
	}); err != nil {
		return err
	}
	return s.settled(ctx, 2*time.Minute)
}

// editPolicy lets the guest pay, waits until it can, takes it back and waits until it cannot.
func (s *soak) editPolicy(ctx context.Context) error {
	const file, only, also = "payments-callers.yaml", "sa/cart]", "sa/cart, cluster.local/ns/shop/sa/guest]"
	pays := func() bool {
		return s.inPod(ctx, "shop/guest", "shop-client", "tcp", "-timeout", "5s", "payments:9000", "QUIT").Run() == nil
	}
	if pays() {
		return fmt.Errorf("the guest can pay before the policy lets it")
	}
	if err := s.edit(file, only, also); err != nil {
		return err
	}
	if err := s.until(ctx, time.Minute, func() string { return map[bool]string{false: "the guest still cannot pay"}[pays()] }); err != nil {
		return err
	}
	if err := s.edit(file, also, only); err != nil {
		return err
	}
	return s.until(ctx, time.Minute, func() string { return map[bool]string{true: "the guest can still pay"}[pays()] })
}

// until asks again and again what is missing until nothing is.
func (s *soak) until(ctx context.Context, timeout time.Duration, missing func() string) error {
	for end := time.Now().Add(timeout); ; {
		what := missing()
		if what == "" || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %s: %s", timeout, what)
		}
		pause(ctx, 100*time.Millisecond)
	}
}
