package bpf

import (
	"strings"
	"testing"
)

// TestFullNode: one pod more than there is room for is refused, with nothing left of the attempt, and has its
// place when another one goes.
func TestFullNode(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["p2"].ns, "pod-p2", nil, ":8080")
	r, err := Open(Options{Root: l.root, Node: l.node, MaxPods: 1})
	must(t, err)
	t.Cleanup(func() { r.Close() })
	must(t, r.Enrol(l.pods["p1"].spec()))
	before := snapshot(t, l, l.pods["p2"])
	if err := r.Enrol(l.pods["p2"].spec()); err == nil || !strings.Contains(err.Error(), "all 1 pod slots of this node are in use") {
		t.Fatalf("got %v", err)
	}
	if after := snapshot(t, l, l.pods["p2"]); after != before {
		t.Errorf("something is left:\n%s\nwas\n%s", after, before)
	}
	if o := l.dial("p3", l.pods["p2"].at(8080, false)); !o.OK {
		t.Errorf("the pod is not as it was: %+v", o)
	}
	must(t, r.Unenrol("p1"))
	must(t, r.Enrol(l.pods["p2"].spec()))
}
