package enroll

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEnrolmentInOrder(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(nil, true)
	w.ztunnel("z1")
	w.happens("z1 knows all")
	w.r.Set(enrol(a), true)
	story := acts(w.happens("announce a"))
	if want := []string{"z1 serves a as sa", "enrol a for z1", "announce a"}; !slices.Equal(story, want) {
		t.Errorf("got %q, want %q", story, want)
	}
	v := w.settled("a", StateEnrolled)
	if v.Reason != "labelled" || v.Error != "" || v.Ztunnel != 1 {
		t.Errorf("%+v", v)
	}
	if got := w.announced(); !slices.Equal(got, []string{"shop_a"}) {
		t.Error(got)
	}
	// What is as it should be is left alone.
	w.r.Set(enrol(a), true)
	w.clock.advance(time.Hour) // resync
	b := w.pod("b", "10.0.0.2")
	w.r.Set(enrol(a, b), true)
	if story := w.happens("announce b"); slices.ContainsFunc(story, func(s string) bool { return strings.Contains(s, " a") && !strings.Contains(s, " as ") }) {
		t.Errorf("a was touched: %q", story)
	}
}

func TestWaitsForZtunnel(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	if v := w.settled("a", StatePending); v.Error != errWaiting.Error() || v.Attempts != 0 {
		t.Errorf("%+v", v)
	}
	if got := w.story(); len(got) > 0 {
		t.Errorf("without a ztunnel: %q", got)
	}
	w.ztunnel("z1")
	w.inOrder(w.happens("announce a"), "z1 serves a as sa", "enrol a for z1", "announce a")
}

func TestLabelRemoved(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2")
	w.start(enrol(a, b), true)
	z := w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.settled("b", StateEnrolled)
	w.story()
	w.r.Set(append(leave(a), enrol(b)...), true)
	w.happens("withdraw a")
	w.settled("a", StateLeaving)
	if len(w.capturedPods()) != 2 || !slices.Equal(z.serves(), []string{"a", "b"}) {
		t.Error("taken off before callers can know")
	}
	eventually(t, "linger", func() bool { return w.clock.next() == time.Minute })
	w.clock.advance(time.Minute)
	if story := acts(w.happens("z1 drops a")); !slices.Equal(story, []string{"unenrol a", "z1 drops a"}) {
		t.Errorf("%q", story)
	}
	w.settled("a", StateIgnored)
	if _, ok := w.capturedPods()["b"]; !ok || len(w.capturedPods()) != 1 || !slices.Equal(w.announced(), []string{"shop_b"}) {
		t.Error(w.capturedPods(), w.announced())
	}
	w.r.Set(enrol(a, b), true)
	w.inOrder(w.happens("announce a"), "z1 serves a as sa", "enrol a for z1", "announce a")
}

func TestLabelBackWhileLingering(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.story()
	w.r.Set(leave(a), true)
	w.happens("withdraw a")
	w.r.Set(enrol(a), true)
	w.happens("announce a")
	w.clock.advance(2 * time.Minute)
	w.r.Set(enrol(a, w.pod("b", "10.0.0.2")), true)
	if story := w.happens("announce b"); slices.Contains(story, "unenrol a") {
		t.Errorf("%q", story)
	}
}

func TestPodGone(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.story()
	w.r.Set(nil, true)
	if story := acts(w.happens("z1 drops a")); !slices.Equal(story, []string{"withdraw a", "unenrol a", "z1 drops a"}) {
		t.Errorf("%q", story)
	}
	eventually(t, "forgotten", func() bool { return len(w.r.Views()) == 0 })

	// The same while it lingers after its label went.
	w.r.Set(enrol(a), true)
	w.happens("announce a")
	w.r.Set(leave(a), true)
	w.happens("withdraw a")
	w.r.Set(nil, true)
	w.happens("unenrol a")
}

func TestTerminatingPod(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2")
	w.start(enrol(a), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.story()
	w.r.Set([]Decision{{Pod: Pod{UID: "a"}, Verdict: Keep}, {Pod: b, Verdict: Keep, Reason: "is being deleted"}}, true)
	if v := w.settled("b", StateIgnored); v.Reason != "is being deleted" {
		t.Errorf("%+v", v)
	}
	// It goes on to be served, by a new ztunnel too.
	w.ztunnel("z2")
	w.happens("listeners a of z2")
	if got := w.capturedPods()["a"]; got.addresses != "[10.0.0.1]" {
		t.Errorf("%+v", got)
	}
}

// A pod that ends is what it was, but for a NetworkPolicy that selects it now: the node's firewall is not gone past.
func TestTerminatingPodIsForwarded(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	a.Direct, a.HandOver = true, true
	w.start(enrol(a), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.story()
	ending := a
	ending.HandOver = false
	w.r.Set([]Decision{{Pod: ending, Verdict: Keep, Reason: "is being deleted"}}, true)
	w.happens("enrol a for z1")
	if v := w.settled("a", StateEnrolled); v.HandOver || !v.Direct || v.Reason != "is being deleted" {
		t.Errorf("%+v", v)
	}
}

func TestRefusedByZtunnel(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2")
	w.setFail("z1 add a", errors.New("certificate is not ready"))
	w.start(enrol(a, b), true)
	w.ztunnel("z1")
	w.settled("b", StateEnrolled) // the neighbour does not mind
	v := w.settled("a", StatePending)
	if !strings.Contains(v.Error, "certificate is not ready") {
		t.Errorf("%+v", v)
	}
	if _, ok := w.capturedPods()["a"]; ok || slices.Contains(w.announced(), "shop_a") {
		t.Error("captured without a certificate")
	}
	// Pauses double up to the longest.
	attempts := func() int { return w.settled("a", StatePending).Attempts }
	for n := 0; n < 6; {
		var pause time.Duration
		eventually(t, "attempt", func() bool { // the end of the list wakes it once more
			n = attempts()
			pause = w.clock.next()
			return pause > 0 && attempts() == n
		})
		if want := min(time.Second<<(n-1), 4*time.Second); pause > want {
			t.Errorf("pause after %d failures: %v, want %v", n, pause, want)
		}
		w.clock.advance(pause)
		eventually(t, "another attempt", func() bool { return attempts() > n })
	}
	if got := w.clock.next(); got != 4*time.Second {
		t.Errorf("longest pause: %v", got)
	}
	w.setFail("z1 add a", nil)
	w.clock.advance(4 * time.Second)
	w.happens("announce a")
	if v := w.settled("a", StateEnrolled); v.Attempts != 0 || v.Error != "" {
		t.Errorf("%+v", v)
	}
}

func TestAckWithoutListeners(t *testing.T) {
	w := newWorld(t)
	w.start(enrol(w.pod("a", "10.0.0.1")), true)
	w.ztunnel("z1", func(z *ztunnel) { z.deaf = true })
	if v := w.settled("a", StatePending); !strings.Contains(v.Error, "does not listen") {
		eventually(t, "error", func() bool { return strings.Contains(w.settled("a", StatePending).Error, "does not listen") })
	}
	if len(w.capturedPods()) > 0 {
		t.Error("captured for nobody")
	}
}

// A pod that was made anew under its name is another one, whatever the UID says.
func TestSameNameOtherNamespace(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	before := w.capturedPods()["a"].cookie
	w.story()
	w.space(a)
	w.clock.advance(time.Hour) // resync
	w.inOrder(w.happens("announce a"), "withdraw a", "z1 serves a as sa", "enrol a for z1", "announce a")
	if after := w.capturedPods()["a"].cookie; after == before {
		t.Error("still the old namespace")
	}
}

// As a StatefulSet does: the same name, another UID. And another pod gets the address.
func TestNameAndAddressReused(t *testing.T) {
	w := newWorld(t)
	old := w.pod("a", "10.0.0.1")
	w.start(enrol(old), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	for i := range 20 {
		w.space(old)
		next := old
		next.UID = fmt.Sprintf("a%d", i)
		other := w.pod(fmt.Sprintf("b%d", i), "10.0.0.1")
		w.r.Set(enrol(next, other), true)
		w.settled(next.UID, StateEnrolled)
		w.settled(other.UID, StateEnrolled)
		eventually(t, "the former is off", func() bool { return len(w.capturedPods()) == 2 && len(w.r.Views()) == 2 })
		if got := w.announced(); !slices.Equal(got, []string{"shop_a", "shop_" + other.Name}) {
			t.Fatalf("announced: %q", got)
		}
	}
}

func TestChangedPod(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.story()
	a.ServiceAccount = "other"
	w.r.Set(enrol(a), true)
	w.inOrder(w.happens("listeners a of z1"), "z1 serves a as other", "listeners a of z1")
	moved := w.pod("x", "10.0.0.9")
	a.Addresses = moved.Addresses
	w.r.Set(enrol(a), true)
	w.happens("enrol a for z1")
	if got := w.capturedPods()["a"].addresses; got != "[10.0.0.9]" {
		t.Error(got)
	}
}

func TestFailuresAreRepaired(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.setFail("enrol a", errors.New("verifier says no"))
	w.start(enrol(a), true)
	z := w.ztunnel("z1")
	fails := func(text string) {
		t.Helper()
		eventually(t, text, func() bool { return strings.Contains(w.r.Views()[0].Error, text) })
		if got := w.announced(); len(got) > 0 {
			t.Errorf("announced: %q", got)
		}
	}
	again := func(what string) {
		t.Helper()
		w.setFail(what, nil)
		eventually(t, "pause", func() bool { return w.clock.next() > 0 })
		w.clock.advance(w.clock.next())
	}
	fails("verifier says no")
	w.setFail("announce a", errors.New("disk full"))
	again("enrol a")
	fails("disk full")
	again("announce a")
	w.settled("a", StateEnrolled)

	w.setFail("listeners a", errors.New("capture is incomplete"))
	z.kill()
	w.ztunnel("z2")
	w.happens("enrol a for z2") // slots that cannot be set: captured anew

	w.setFail("unenrol a", errors.New("busy"))
	w.r.Set(nil, true)
	eventually(t, "busy", func() bool { v := w.r.Views(); return len(v) == 1 && v[0].Error == "busy" })
	again("unenrol a")
	eventually(t, "off", func() bool { return len(w.r.Views()) == 0 && len(w.capturedPods()) == 0 })
}

func TestZtunnelInWrongCgroup(t *testing.T) {
	w := newWorld(t)
	w.setFail("admit", errors.New("cgroup id 1 is the root's"))
	w.start(enrol(w.pod("a", "10.0.0.1")), true)
	z := w.ztunnel("z1")
	eventually(t, "said", func() bool { return strings.Contains(w.r.Views()[0].Error, "cgroup id 1 is the root's") })
	if len(w.capturedPods()) > 0 {
		t.Error("captured for a ztunnel that cannot send")
	}
	z.kill()
	w.setFail("admit", nil)
	w.ztunnel("z2")
	w.happens("announce a")
}

func TestNamespaceAppearsLate(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	delete(w.spaces, a.Key())
	w.start(enrol(a), true)
	w.ztunnel("z1")
	if v := w.settled("a", StatePending); !strings.Contains(v.Error, "namespace of shop/a") {
		t.Errorf("%+v", v)
	}
	w.space(a)
	eventually(t, "announced", func() bool {
		w.clock.advance(5 * time.Second)
		return len(w.announced()) == 1
	})
}

func TestManyPodsComeAndGo(t *testing.T) {
	w := newWorld(t)
	var pods []Pod
	for i := range 200 {
		pods = append(pods, w.pod(fmt.Sprintf("p%d", i), fmt.Sprintf("10.0.%d.%d", i/100, i%100+1)))
	}
	w.start(enrol(pods...), true)
	z := w.ztunnel("z1")
	all := func(n int) func() bool {
		return func() bool { return len(w.capturedPods()) == n && len(w.announced()) == n && len(z.serves()) == n }
	}
	eventually(t, "all in", all(200))
	for i := range 50 { // faster than they can be followed
		w.r.Set(enrol(pods[i:i+100]...), true)
	}
	w.r.Set(enrol(pods[:10]...), true)
	eventually(t, "few left", all(10))
	w.r.Set(nil, true)
	eventually(t, "all out", all(0))
}
