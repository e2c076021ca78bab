package balance

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

var strict = &model.Outliers{ConnectFailures: 3, BaseEjection: 30 * time.Second, MaxEjection: 70 * time.Second, MaxPercent: 50}

func fail(b *Balancer, w *model.Workload, o *model.Outliers, total, times int) (d time.Duration) {
	for range times {
		d = b.Report(db, w, o, total, false)
	}
	return d
}

// Three failures in a row eject, each time for longer, up to the longest; time that was well is forgiven.
func TestEjectionsGrow(t *testing.T) {
	b, c := newBench()
	w := pods("a")[0]
	if d := fail(b, w, strict, 4, 2); d != 0 {
		t.Fatalf("ejected for %v after two", d)
	}
	b.Report(db, w, strict, 4, true)
	if d := fail(b, w, strict, 4, 2); d != 0 {
		t.Fatalf("failures that are not in a row eject, for %v", d)
	}
	for i, want := range []time.Duration{30 * time.Second, 60 * time.Second, 70 * time.Second, 70 * time.Second} {
		if i > 0 {
			fail(b, w, strict, 4, 2)
		}
		if d := fail(b, w, strict, 4, 1); d != want {
			t.Fatalf("ejection %d: %v, want %v", i+1, d, want)
		}
		if d := fail(b, w, strict, 4, 5); d != 0 {
			t.Error("ejected while it was ejected")
		}
		c.pass(want)
		if b.Ejected() != 0 {
			t.Errorf("ejection %d is not over", i+1)
		}
	}
	b.Report(db, w, strict, 4, true)
	c.pass(70 * time.Second)
	b.Report(db, w, strict, 4, true)
	if b.ill.some() {
		t.Error("not forgiven")
	}
	if d := fail(b, w, strict, 4, 3); d != 30*time.Second {
		t.Errorf("%v", d)
	}
}

// One always may be ejected, further ones up to the percentage, and never all.
func TestSomebodyStays(t *testing.T) {
	for _, c := range []struct {
		total   int
		percent uint32
		want    int
	}{{1, 100, 0}, {2, 100, 1}, {3, 100, 2}, {4, 50, 2}, {5, 50, 2}, {10, 1, 1}, {10, 0, 1}} {
		b, _ := newBench()
		o := *strict
		o.MaxPercent = c.percent
		all := pods("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")[:c.total]
		for _, w := range all {
			fail(b, w, &o, c.total, 3)
		}
		if n := b.Ejected(); n != c.want {
			t.Errorf("%d of %d are out at %d%%, want %d", n, c.total, c.percent, c.want)
		}
		if w := b.Pick(db, &model.Carriage{Outliers: &o}, nil, all); w == nil {
			t.Error("nobody is left")
		}
	}
}

// Who is ejected is not chosen, in that service; when the others go he is, for it is better than nothing.
func TestEjectedIsNotChosen(t *testing.T) {
	b, c := newBench()
	how := &model.Carriage{Outliers: strict}
	all := pods("a", "b")
	fail(b, all[0], strict, 2, 3)
	for range 20 {
		if w := b.Pick(db, how, nil, all); w.UID != "b" {
			t.Fatal("the ejected one was chosen")
		}
	}
	other := &model.Service{Namespace: "shop", Hostname: "other"}
	seen := map[string]bool{}
	for range 100 {
		seen[b.Pick(other, how, nil, all).UID] = true
	}
	if !seen["a"] {
		t.Error("ejected from a service that it did not fail")
	}
	if w := b.Pick(db, how, nil, all[:1]); w != all[0] {
		t.Error("nobody is left")
	}
	all[1].Unhealthy = true
	if w := b.Pick(db, how, nil, all); w != all[0] {
		t.Error("an unhealthy one is no reason to keep the ejected one out")
	}
	all[1].Unhealthy = false
	c.pass(30 * time.Second)
	seen = map[string]bool{}
	for range 100 {
		seen[b.Pick(db, how, nil, all).UID] = true
	}
	if !seen["a"] {
		t.Error("it did not return")
	}
}

// What is gone leaves nothing behind.
func TestEjectionsAreForgotten(t *testing.T) {
	b, c := newBench()
	fail(b, pods("gone")[0], strict, 3, 1)
	c.pass(2 * time.Hour)
	fail(b, pods("next")[0], strict, 3, 1)
	if n := b.ill.n.Load(); n != 1 {
		t.Errorf("%d remembered", n)
	}
	b.Left("next")
	if b.ill.some() || len(b.ill.all) != 0 {
		t.Error("a pod that left is remembered")
	}
}
