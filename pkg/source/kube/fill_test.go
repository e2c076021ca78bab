package kube

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/source"
)

// TestFillAfterEdits changes a store at random and compares what it fills in with what a new store of the same objects
// does. A list that was handed out stays as it was.
func TestFillAfterEdits(t *testing.T) {
	d := rand.New(rand.NewPCG(1, 9))
	fresh := func() *store {
		return &store{kind: "Pod", trim: func(o metav1.Object) metav1.Object { return o }, changed: func() {}, log: zap.NewNop(), all: map[string]entry{}}
	}
	s := fresh()
	var before, kept []source.Object[corev1.Pod]
	for step := range 300 {
		for range d.IntN(5) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprint("ns", d.IntN(3)), Name: fmt.Sprint("p", d.IntN(15)), Generation: int64(step)}}
			change := s.Update
			if d.IntN(3) == 0 {
				change = s.Delete
			}
			if err := change(p); err != nil {
				t.Fatal(err)
			}
		}
		if d.IntN(20) == 0 {
			var all []any
			for _, e := range s.all {
				all = append(all, e.raw)
			}
			if err := s.Replace(all[:len(all)/2], ""); err != nil {
				t.Fatal(err)
			}
		}
		other := fresh()
		for _, e := range s.all {
			if err := other.Add(e.raw); err != nil {
				t.Fatal(err)
			}
		}
		var got, want source.Objects
		s.fill(&got)
		other.fill(&want)
		if !slices.Equal(got.Pods, want.Pods) {
			t.Fatalf("step %d: %d pods, want %d, or not in their order", step, len(got.Pods), len(want.Pods))
		}
		if !slices.Equal(before, kept) {
			t.Fatalf("step %d: the list before was changed", step)
		}
		before, kept = got.Pods, slices.Clone(got.Pods)
	}
	var one, two source.Objects
	s.fill(&one)
	if s.fill(&two); len(one.Pods) == 0 || &one.Pods[0] != &two.Pods[0] {
		t.Error("without a change the list is another one")
	}
}
