package controller

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// TestIncrementalIsCompile changes random meshes at random and compares: what Incremental makes of each state is what
// Compile makes of it, it names all that differs from the state before, and what was handed out stays as it
// was. WEFT_SEQUENCES are how many meshes, 60 if not set.
func TestIncrementalIsCompile(t *testing.T) {
	sequences, err := strconv.Atoi(os.Getenv("WEFT_SEQUENCES"))
	if err != nil {
		sequences = 60
	}
	short, all, whole := 0, 0, 0
	for seed := range sequences {
		c := newChanging(dice{rand.New(rand.NewPCG(uint64(seed), 7))})
		var k Incremental
		var before Compiled
		var text string
		for step := range 20 {
			c.step()
			cfg := Config{Now: c.now}
			got := k.Compile(c.objs, cfg)
			want, statuses := Compile(c.objs, cfg)
			if diff := differs(got.Snapshot, want); diff != "" {
				t.Fatalf("sequence %d, step %d, changes %v: not what Compile makes of it (+):\n%s", seed, step, got.Changes, diff)
			}
			if diff := cmp.Diff(plainStatuses(t, k.Statuses()), plainStatuses(t, statuses)); diff != "" {
				t.Fatalf("sequence %d, step %d, changes %v: statuses are not what Compile says (+):\n%s", seed, step, got.Changes, diff)
			}
			if before.Snapshot != nil {
				if textOf(t, before.Snapshot) != text {
					t.Fatalf("sequence %d, step %d: the snapshot before was changed", seed, step)
				}
				if all++; got.Changes != nil {
					short++
					checkChanges(t, before.Snapshot, got)
				} else {
					whole++
				}
			}
			before, text = got, textOf(t, got.Snapshot)
			if t.Failed() {
				t.Fatalf("sequence %d, step %d", seed, step)
			}
		}
	}
	t.Logf("%d changes, %d of them compiled incrementally, %d whole", all, short, whole)
	if short < all/4 || whole < all/10 {
		t.Errorf("of %d changes %d were compiled incrementally and %d whole: this compares too little", all, short, whole)
	}
}

// A pod that ends before its object goes, and one that comes back by the same name before it has an address, are
// changes of pods alone.
func TestIncrementalForgetsWhoWent(t *testing.T) {
	pod := func(phase corev1.PodPhase, ip, uid string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: types.UID(uid)}}
		p.Spec.NodeName, p.Status.Phase, p.Status.PodIP = "n1", phase, ip
		return p
	}
	c := &changing{objs: &source.Objects{}, now: time.Unix(1_800_000_000, 0)}
	objs := c.objs
	replace(&objs.Namespaces, "", "shop", &corev1.Namespace{})
	replace(&objs.Pods, "shop", "other", &corev1.Pod{Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.9"}})
	var k Incremental
	k.Compile(c.objs, Config{Now: c.now})
	for i, now := range []*corev1.Pod{
		pod(corev1.PodRunning, "10.0.0.1", "a"), pod(corev1.PodSucceeded, "10.0.0.1", "a"), nil,
		pod(corev1.PodRunning, "10.0.0.2", "b"), nil, pod(corev1.PodPending, "", "c"), pod(corev1.PodRunning, "10.0.0.3", "c"),
	} {
		replace(&c.edit().Pods, "shop", "web-0", now)
		if got := k.Compile(c.objs, Config{Now: c.now}); got.Changes == nil {
			t.Errorf("change %d is compiled whole", i)
		}
	}
}

// checkChanges sees that all is named that differs, and nothing else does.
func checkChanges(t *testing.T, before *model.Snapshot, got Compiled) {
	t.Helper()
	if got.Changes.Since != before {
		t.Error("the changes are not to the snapshot before")
	}
	named := func(uid string) bool { return slices.Contains(got.Changes.Workloads, uid) }
	for _, pair := range [][2]model.Table[*model.Workload]{{before.Workloads, got.Snapshot.Workloads}, {before.Pending, got.Snapshot.Pending}} {
		for uid := range union(pair[0], pair[1]) {
			if pair[0].Get(uid) != pair[1].Get(uid) && !named(uid) {
				t.Errorf("%s differs and is not named", uid)
			}
		}
	}
	for uid := range union(before.Bindings, got.Snapshot.Bindings) {
		if !slices.Equal(before.Bindings.Get(uid), got.Snapshot.Bindings.Get(uid)) && !named(uid) {
			t.Errorf("bindings of %s differ and it is not named", uid)
		}
	}
	a, b := *before, *got.Snapshot
	for _, s := range []*model.Snapshot{&a, &b} {
		s.Workloads, s.Pending, s.Bindings = model.Table[*model.Workload]{}, model.Table[*model.Workload]{}, model.Table[[]string]{}
	}
	if !reflect.DeepEqual(a, b) {
		t.Error("something else than workloads differs")
	}
}

func union[V any](a, b model.Table[V]) map[string]bool {
	out := map[string]bool{}
	for name := range a.All() {
		out[name] = true
	}
	for name := range b.All() {
		out[name] = true
	}
	return out
}

// differs compares snapshots with all that is in them.
func differs(got, want *model.Snapshot) string {
	tables := cmp.Options{
		cmp.Transformer("entries", func(t model.Table[*model.Workload]) map[string]*model.Workload { return maps.Collect(t.All()) }),
		cmp.Transformer("entries", func(t model.Table[[]string]) map[string][]string { return maps.Collect(t.All()) }),
		cmp.Comparer(func(a, b interface{ String() string }) bool { return reflect.DeepEqual(a, b) }),
	}
	return cmp.Diff(got, want, tables)
}

// plainStatuses are by object.
func plainStatuses(t *testing.T, list []Status) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, s := range list {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		out[s.Key()] = string(text)
	}
	return out
}

func textOf(t *testing.T, s *model.Snapshot) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
