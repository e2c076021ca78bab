package enroll

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// cookie is that of a pod's namespace.
func (w *world) cookie(p Pod) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spaces[p.Key()]
}

func keep(ps ...Pod) (ds []Decision) {
	for _, p := range ps {
		p.Addresses = nil
		ds = append(ds, Decision{Pod: p, Verdict: Keep, Reason: "has no address yet"})
	}
	return ds
}

// A pod is captured before the source has heard of it, and stays so while it is being heard of.
func TestStart(t *testing.T) {
	w := newWorld(t)
	w.start(nil, true)
	w.ztunnel("z1")
	w.happens("z1 knows all")
	a := w.pod("a", "10.0.0.1")
	if err := w.r.Start(t.Context(), a, w.cookie(a), "labelled"); err != nil {
		t.Fatal(err)
	}
	if c := w.capturedPods()["a"]; c.listener != "z1" {
		t.Fatalf("captured by %+v", c)
	}
	w.settled("a", StateEnrolled)
	w.story()
	b := w.pod("b", "10.0.0.2")
	w.r.Set(enrol(b), true) // a is not known yet
	w.happens("announce b")
	w.r.Set(append(keep(a), enrol(b)...), true)
	w.r.Set(enrol(a, b), true)
	if err := w.r.Start(t.Context(), a, w.cookie(a), "labelled"); err != nil { // asked twice
		t.Error(err)
	}
	w.settled("a", StateEnrolled)
	if story := w.story(); slices.Contains(story, "unenrol a") || slices.Contains(story, "withdraw a") {
		t.Errorf("a starting pod was taken off: %q", story)
	}
	w.r.Set(enrol(b), true)
	w.inOrder(w.happens("z1 drops a"), "withdraw a", "unenrol a", "z1 drops a")
}

func TestStartOfOneThatIsGoneAgain(t *testing.T) {
	w := newWorld(t)
	w.start(nil, true)
	w.ztunnel("z1")
	a := w.pod("a", "10.0.0.1")
	if err := w.r.Start(t.Context(), a, w.cookie(a), "labelled"); err != nil {
		t.Fatal(err)
	}
	w.r.Set(keep(a), true)
	w.r.Set(nil, true)
	w.happens("unenrol a")
}

func TestStartWithoutZtunnel(t *testing.T) {
	w := newWorld(t)
	w.start(nil, true)
	a := w.pod("a", "10.0.0.1")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.r.Start(ctx, a, w.cookie(a), "labelled") }()
	w.settled("a", StatePending)
	cancel()
	if err := <-done; !errors.Is(err, errWaiting) {
		t.Errorf("got %v, want what it waited for", err)
	}
	// Who comes later serves it.
	done2 := make(chan error, 1)
	go func() { done2 <- w.r.Start(t.Context(), a, w.cookie(a), "labelled") }()
	w.ztunnel("z1")
	if err := <-done2; err != nil {
		t.Error(err)
	}
}

func TestStartOfOneThatIsNotWanted(t *testing.T) {
	w := newWorld(t)
	w.start(nil, true)
	a := w.pod("a", "10.0.0.1")
	done := make(chan error, 1)
	go func() { done <- w.r.Start(t.Context(), a, w.cookie(a), "labelled") }()
	w.settled("a", StatePending)
	w.r.Set(leave(a), true) // the label went meanwhile
	if err := <-done; err == nil {
		t.Error("captured")
	}
}

// The sandbox is made anew under the same UID.
func TestSandboxAgain(t *testing.T) {
	w := newWorld(t)
	w.start(nil, true)
	w.ztunnel("z1")
	a := w.pod("a", "10.0.0.1")
	if err := w.r.Start(t.Context(), a, w.cookie(a), "labelled"); err != nil {
		t.Fatal(err)
	}
	w.r.Set(enrol(a), true)
	w.story()
	w.r.Stop("a")
	w.r.Stop("nobody")
	w.happens("unenrol a")
	w.r.Set(enrol(a), true) // the source still shows it
	w.settled("a", StateIgnored)
	former := w.cookie(a)
	w.space(a)
	if w.cookie(a) == former {
		t.Fatal("the same namespace")
	}
	if err := w.r.Start(t.Context(), a, w.cookie(a), "labelled"); err != nil {
		t.Fatal(err)
	}
	w.r.Set(enrol(a), true)
	w.settled("a", StateEnrolled)
}

// told notes what people are told.
type told world

func (n *told) Tell(p Pod, warning bool, reason, message string) {
	(*world)(n).note("told of %s: %s %v %s", p.UID, reason, warning, message)
}

func TestPeopleAreTold(t *testing.T) {
	w := newWorld(t)
	w.start(nil, true)
	w.r.o.Teller = (*told)(w)
	z := w.ztunnel("z1")
	a, b := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2")
	w.setFail("enrol a", errors.New("no veth"))
	w.r.Set(enrol(a), true)
	var story []string
	tellings := func() (out []string) {
		story = append(story, w.story()...)
		for _, s := range story {
			if strings.HasPrefix(s, "told") {
				out = append(out, s)
			}
		}
		return out
	}
	eventually(t, "told", func() bool { w.clock.advance(4 * time.Second); return len(tellings()) == 1 })
	if got := tellings()[0]; !strings.HasPrefix(got, "told of a: NotEnrolled true") || !strings.Contains(got, "no veth") {
		t.Error(got)
	}
	for range 5 {
		w.clock.advance(4 * time.Second)
	}
	w.setFail("enrol a", nil)
	eventually(t, "told again", func() bool { w.clock.advance(4 * time.Second); return len(tellings()) == 2 })
	if got := tellings()[1]; got != "told of a: Enrolled false captured by the mesh" {
		t.Error(got)
	}
	// One that is left alone against its will.
	typo := w.pod("typo", "10.0.0.3")
	for range 2 {
		w.r.Set(append(enrol(a), Decision{Pod: typo, Verdict: Leave, Reason: "is labelled amient", Trouble: true}), true)
	}
	eventually(t, "the typo is told", func() bool { return len(tellings()) == 3 })
	if got := tellings()[2]; got != "told of typo: NotEnrolled true not in the mesh: is labelled amient" {
		t.Error(got)
	}
	// A ztunnel that stays away.
	z.kill()
	w.r.Set(enrol(a, b), true)
	w.settled("b", StatePending)
	w.clock.advance(tellAfterWait)
	eventually(t, "the wait is told", func() bool { w.r.wakeAll(); return len(tellings()) == 4 })
	if got := tellings()[3]; !strings.HasPrefix(got, "told of b") || !strings.Contains(got, errWaiting.Error()) {
		t.Error(got)
	}
}
