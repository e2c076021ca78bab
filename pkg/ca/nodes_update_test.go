package ca

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// TestNodePolicyUpdates tells a policy of random changes and compares it with one that is told everything.
func TestNodePolicyUpdates(t *testing.T) {
	d := rand.New(rand.NewPCG(3, 4))
	p := NewNodePolicy()
	last := model.NewSnapshot()
	p.SetSnapshot(last)
	for step := range 500 {
		next := *last
		what := &model.Changes{Since: last}
		for range d.IntN(4) {
			uid := fmt.Sprint("u", d.IntN(20))
			what.Workloads = append(what.Workloads, uid, uid) // once more is no harm
			next.Workloads, next.Pending = next.Workloads.With(nil, uid), next.Pending.With(nil, uid)
			w := &model.Workload{UID: uid, Node: fmt.Sprint("n", d.IntN(3)), Namespace: "shop", ServiceAccount: fmt.Sprint("a", d.IntN(3)), HostNetwork: d.IntN(5) == 0}
			switch set := map[string]*model.Workload{uid: w}; d.IntN(3) {
			case 0:
				next.Workloads = next.Workloads.With(set)
			case 1:
				next.Pending = next.Pending.With(set)
			}
		}
		switch d.IntN(10) {
		case 0:
			what.Since = model.NewSnapshot() // another one than it has
			what.Workloads = nil
		case 1:
			what = nil
		}
		p.Update(&next, what)
		whole := NewNodePolicy()
		whole.SetSnapshot(&next)
		if !reflect.DeepEqual(p.pods, whole.pods) {
			t.Fatalf("step %d: %v, want %v", step, p.pods, whole.pods)
		}
		last = &next
	}
}
