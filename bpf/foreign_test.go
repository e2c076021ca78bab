package bpf

import (
	"errors"
	"testing"
)

// TestTwoMeshes: a pod that another agent, with pins of its own, has captured is refused, and left as it is.
func TestTwoMeshes(t *testing.T) {
	l := newLab(t)
	l.open()
	l.enrol(nil, "p1")
	l.enrol(nil, "p1") // our own is no hindrance
	ours := l.r
	root := l.root
	l.root += "-other"
	other := l.open()
	if err := other.Enrol(l.pods["p1"].spec()); !errors.Is(err, ErrForeign) {
		t.Fatalf("captured twice: %v", err)
	}
	l.enrol(nil, "p2")
	must(t, ours.Unenrol("p1"))
	must(t, other.Enrol(l.pods["p1"].spec()))
	must(t, other.Teardown())
	must(t, ours.Close())
	l.root = root
	l.open() // a successor knows its own
	l.enrol(nil, "p1")
	l.enrol(nil, "p1")
}
