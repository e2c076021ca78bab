package enroll

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestZtunnelWithoutDNS(t *testing.T) {
	w := newWorld(t)
	w.start(enrol(w.pod("a", "10.0.0.1")), true)
	z := w.ztunnel("z1", func(z *ztunnel) { z.mute = true })
	if v := w.settled("a", StateEnrolled); !v.NoDNS || !w.capturedPods()["a"].noDNS {
		t.Errorf("%+v", v)
	}
	// Its successor does: DNS is captured from then on.
	z.kill()
	w.ztunnel("z2")
	w.happens("enrol a for z2")
	if w.capturedPods()["a"].noDNS {
		t.Error("DNS is left alone")
	}
}

func TestZtunnelRestarts(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2")
	w.start(enrol(a, b), true)
	z := w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.settled("b", StateEnrolled)
	z.kill()
	eventually(t, "gone", func() bool { return w.agent.Current().IsZero() })
	w.story()
	if v := w.settled("a", StateEnrolled); v.Error != "" || len(w.announced()) != 2 {
		t.Errorf("captured pods stay announced: %+v", v)
	}
	w.ztunnel("z2")
	story := append(w.happens("listeners a of z2"), w.story()...)
	eventually(t, "b", func() bool { return w.capturedPods()["b"].listener == "z2" })
	story = append(story, w.story()...)
	for _, s := range story {
		if strings.HasPrefix(s, "withdraw") || strings.HasPrefix(s, "enrol") || strings.HasPrefix(s, "unenrol") {
			t.Errorf("a restart is nobody's business but the slots': %s", s)
		}
	}
	adds := 0
	for _, s := range story {
		if s == "z2 serves a as sa" {
			adds++
		}
	}
	if adds != 1 {
		t.Errorf("a was given %d times: %q", adds, story)
	}
}

// The successor takes over while the former still runs; when it fails, the former has the pods again.
func TestSuccessorFails(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	z1 := w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	z2 := w.ztunnel("z2")
	w.happens("listeners a of z2")
	z2.kill()
	w.happens("listeners a of z1")
	// One that cannot serve the pod does not get it.
	w.setFail("z3 add a", errors.New("no certificate"))
	w.ztunnel("z3")
	w.happens("z3 refuses a")
	if got := w.capturedPods()["a"].listener; got != "z1" {
		t.Errorf("listener of %q", got)
	}
	w.setFail("z3 add a", nil)
	eventually(t, "z3 has it", func() bool {
		w.clock.advance(5 * time.Second)
		return w.capturedPods()["a"].listener == "z3"
	})
	z1.kill()
	if got := w.capturedPods()["a"].listener; got != "z3" {
		t.Errorf("listener of %q", got)
	}
}

func TestAgentRestarts(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2"), w.pod("c", "10.0.0.3")
	w.start(enrol(a, b, c), true)
	z := w.ztunnel("z1")
	for _, uid := range []string{"a", "b", "c"} {
		w.settled(uid, StateEnrolled)
	}
	w.stop()
	if len(w.capturedPods()) != 3 {
		t.Fatal("the agent's end uncovers pods")
	}
	w.story()
	// Meanwhile b has gone and c has lost its label.
	w.start(append(enrol(a), leave(c)...), true)
	w.happens("z1 knows all")
	w.settled("a", StateEnrolled)
	eventually(t, "b off", func() bool { _, on := w.capturedPods()["b"]; return !on && !slices.Contains(z.serves(), "b") })
	eventually(t, "c withdrawn", func() bool { return slices.Equal(w.announced(), []string{"shop_a"}) })
	if _, on := w.capturedPods()["c"]; !on {
		t.Error("c runs on, so it lingers")
	}
	eventually(t, "linger", func() bool { return w.clock.next() > 0 })
	w.clock.advance(time.Minute)
	eventually(t, "c off", func() bool { return len(w.capturedPods()) == 1 })
	if !slices.Equal(z.serves(), []string{"a"}) {
		t.Error(z.serves())
	}
}

func TestAgentRestartsBeforeZtunnelIsBack(t *testing.T) {
	w := newWorld(t)
	a := w.pod("a", "10.0.0.1")
	w.start(enrol(a), true)
	z := w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	z.kill()
	w.stop()
	w.start(enrol(a), true)
	eventually(t, "looked at", func() bool { v := w.r.Views(); return len(v) == 1 && v[0].Error == errWaiting.Error() })
	if len(w.capturedPods()) != 1 || len(w.announced()) != 1 {
		t.Error(w.capturedPods(), w.announced())
	}
	w.story()
	w.ztunnel("z2")
	w.inOrder(w.happens("announce a"), "z2 serves a as sa", "enrol a for z2", "announce a")
}

// While the source is not known completely nobody is let out of the mesh.
func TestIncompleteSource(t *testing.T) {
	w := newWorld(t)
	a, b := w.pod("a", "10.0.0.1"), w.pod("b", "10.0.0.2")
	w.start(enrol(a, b), true)
	w.ztunnel("z1")
	w.settled("a", StateEnrolled)
	w.settled("b", StateEnrolled)
	w.stop()
	w.story()
	// Nothing can be read but b, and not b's namespace.
	w.start([]Decision{{Pod: b, Verdict: Keep, Reason: "its namespace is not known"}}, false)
	w.happens("enrol b for z1") // it is served on
	w.clock.advance(time.Hour)
	if len(w.capturedPods()) != 2 || len(w.announced()) != 2 {
		t.Fatal(w.capturedPods(), w.announced())
	}
	w.r.Set(enrol(a, b), true)
	w.happens("enrol a for z1")
	w.r.Set(enrol(b), false)
	w.r.Set(enrol(b), true)
	w.happens("unenrol a")
}
