package bpf

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestManyAtOnce enrols, adopts and takes off 50 pods side by side, as when a
// namespace is labelled, while others ask for the same pods at the same moment.
func TestManyAtOnce(t *testing.T) {
	l := newLab(t)
	l.maxPods = 64
	l.open()
	const n = 50
	var names, before []string
	for i := range n {
		name := fmt.Sprintf("q%d", i)
		l.addPod(name, fmt.Sprintf("10.77.1.%d", 11+i), fmt.Sprintf("fd77:1::%d", 11+i))
		names = append(names, name)
	}
	for _, name := range names { // last of all: link-local routes come by and by
		before = append(before, snapshot(t, l, l.pods[name]))
	}
	pins := listPins(t, l.root)
	l.sideBySide("enrol", names, func(name string) error { return l.r.Enrol(l.pods[name].spec()) })
	slots := map[uint32]string{}
	for uid, p := range l.r.pods {
		if other := slots[p.Slot]; other != "" || !p.Done || len(p.links) != 4 {
			t.Errorf("%s: slot %d (also of %q), done %v, links %v", uid, p.Slot, other, p.Done, p.links)
		}
		slots[p.Slot] = uid
	}
	if len(slots) != n {
		t.Errorf("%d pods enrolled", len(slots))
	}
	must(t, l.r.Close())
	start := time.Now()
	l.open()
	t.Logf("adopted %d pods in %v", n, time.Since(start))
	if got := l.r.Pods(); len(got) != n {
		t.Errorf("%d pods adopted", len(got))
	}
	// Twice each, and a reader: one of two callers finds the pod gone.
	l.sideBySide("unenrol", slices.Concat(names, names), func(name string) error {
		if _, err := l.r.Counters(); err != nil {
			return err
		}
		if err := l.r.Unenrol(name); !errors.Is(err, ErrUnknownPod) {
			return err
		}
		return nil
	})
	for i, name := range names {
		if after := snapshot(t, l, l.pods[name]); after != before[i] {
			t.Errorf("left in %s\n%s\nwanted\n%s", name, after, before[i])
		}
	}
	if got := listPins(t, l.root); got != pins {
		t.Errorf("pins left:\n%s\nwanted\n%s", got, pins)
	}
}

// TestSamePodAtOnce: all calls for one pod, in any order, leave it enrolled once or not at all.
func TestSamePodAtOnce(t *testing.T) {
	l := newLab(t)
	l.open()
	before := snapshot(t, l, l.pods["p1"])
	other := l.pods["p1"].spec()
	other.UID = "p1-again" // another name for the same namespace: the later one holds
	l.sideBySide("enrol", []string{"1", "2", "3", "4", "5", "6"}, func(i string) error {
		if i == "3" || i == "6" {
			return l.r.Enrol(other)
		}
		return l.r.Enrol(l.pods["p1"].spec())
	})
	got := l.r.Pods()
	if len(got) != 1 {
		t.Fatalf("enrolled as %v", got)
	}
	must(t, l.r.Unenrol(got[0]))
	if after := snapshot(t, l, l.pods["p1"]); after != before {
		t.Errorf("left\n%s\nwanted\n%s", after, before)
	}
}

// sideBySide calls fn for all items at once and logs how long the calls took.
func (l *lab) sideBySide(what string, items []string, fn func(string) error) {
	l.t.Helper()
	var wg sync.WaitGroup
	took := make([]time.Duration, len(items))
	start := time.Now()
	for i, x := range items {
		wg.Go(func() {
			if err := fn(x); err != nil {
				l.t.Errorf("%s %s: %v", what, x, err)
			}
			took[i] = time.Since(start)
		})
	}
	wg.Wait()
	slices.Sort(took)
	l.t.Logf("%s %d at once: p50 %v, last %v", what, len(items), took[len(took)/2], took[len(took)-1])
}
