package state

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

func pod(node, name string) *model.Workload {
	return &model.Workload{UID: "c//Pod/shop/" + name, Name: name, Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local",
		Node: node, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Services: map[string][]model.Port{}}
}

func allow(name, principal string) *model.Policy {
	return &model.Policy{Name: name, Namespace: "shop", Scope: model.ScopeSelector, Action: model.Allow, Rules: []model.Rule{{
		Clauses: []model.Clause{{Matches: []model.Match{{Principals: []model.StringMatch{{Value: principal}}}}}}}}}
}

func front() policy.Conn {
	return policy.Conn{Source: identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "front"},
		SourceIP: netip.MustParseAddr("10.0.0.9"), Dest: netip.MustParseAddrPort("10.0.0.1:80")}
}

func TestDecideFollowsChanges(t *testing.T) {
	s := New("n1")
	w := pod("n1", "cart-1")
	w.Policies = []string{"shop/p"}
	s.Apply(Delta{Workloads: []*model.Workload{w}})
	decide := func(want bool, policyName string) {
		t.Helper()
		v := s.Decide(s.Pod("shop", "cart-1"), front())
		if v.Allowed != want || policyName != "" && v.Policy != policyName {
			t.Errorf("got %+v, want %v by %q", v, want, policyName)
		}
	}
	decide(false, "shop/p") // listed, not received
	s.Apply(Delta{Policies: []*model.Policy{allow("p", "cluster.local/ns/shop/sa/front")}})
	decide(true, "")
	s.Apply(Delta{Policies: []*model.Policy{allow("p", "cluster.local/ns/shop/sa/payments")}})
	decide(false, "")
	bare := pod("n1", "cart-1") // the policy binds it no longer
	s.Apply(Delta{Workloads: []*model.Workload{bare}})
	decide(true, "")
	s.Apply(Delta{Workloads: []*model.Workload{w}, RemovedPolicies: []string{"shop/p"}})
	decide(false, "shop/p") // still listed: gone is not allowed
}

func TestPodsOfThisNode(t *testing.T) {
	s := New("n1")
	here := pod("n1", "cart-1")
	there := pod("n2", "cart-2")
	there.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	s.Apply(Delta{Workloads: []*model.Workload{here, there}})
	if s.Pod("shop", "cart-1") != here || s.Pod("shop", "cart-2") != nil {
		t.Error("wrong pods")
	}
	s.Apply(Delta{Workloads: []*model.Workload{pod("n2", "cart-1")}}) // moved, as stateful pods do
	if s.Pod("shop", "cart-1") != nil {
		t.Error("a pod of another node")
	}
	s.Apply(Delta{Workloads: []*model.Workload{here}})
	s.Apply(Delta{RemovedAddresses: []string{here.UID}})
	if s.Pod("shop", "cart-1") != nil || s.ByAddress(here.Addresses[0]) != nil {
		t.Error("removed, but still there")
	}
}

func TestWaitPod(t *testing.T) {
	s := New("n1")
	if w := s.WaitPod(t.Context(), "shop", "cart-1", 10*time.Millisecond); w != nil {
		t.Error(w)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := s.WaitPod(gone, "shop", "cart-1", time.Hour); w != nil {
		t.Error(w)
	}
	got := make(chan *model.Workload)
	go func() { got <- s.WaitPod(t.Context(), "shop", "cart-1", time.Minute) }()
	s.Apply(Delta{Workloads: []*model.Workload{pod("n1", "other-1")}})
	w := pod("n1", "cart-1")
	s.Apply(Delta{Workloads: []*model.Workload{w}})
	if <-got != w {
		t.Error("woken with another pod")
	}
}

func TestSyncedWakes(t *testing.T) {
	s := New("n1")
	changed := s.Changed()
	if s.Synced() {
		t.Error("synced from the start")
	}
	s.SetSynced()
	<-changed
	if !s.Synced() {
		t.Error("not synced")
	}
}

// A verdict is never given on policies older than the last Apply that has returned.
func TestNoStaleVerdict(t *testing.T) {
	s := New("n1")
	w := pod("n1", "cart-1")
	w.Policies = []string{"shop/p"}
	yes, no := allow("p", "cluster.local/ns/shop/sa/front"), allow("p", "nobody")
	s.Apply(Delta{Workloads: []*model.Workload{w}, Policies: []*model.Policy{yes}})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.Decide(w, front())
				}
			}
		})
	}
	for i := range 2000 {
		p, want := yes, true
		if i%2 == 0 {
			p, want = no, false
		}
		s.Apply(Delta{Policies: []*model.Policy{p}})
		if v := s.Decide(w, front()); v.Allowed != want {
			t.Fatalf("round %d: %+v", i, v)
		}
	}
	close(stop)
	wg.Wait()
}

func BenchmarkDecide(b *testing.B) {
	s := New("n1")
	w := pod("n1", "cart-1")
	s.Apply(Delta{Workloads: []*model.Workload{w}, Policies: []*model.Policy{allow("p", "cluster.local/ns/shop/sa/front")}})
	c := front()
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(w, c)
	}
}
