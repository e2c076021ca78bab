package index

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

var a1, a2, a3 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("fd00::3")

func workload(uid string, addrs ...netip.Addr) *model.Workload {
	return &model.Workload{UID: uid, Name: uid, Namespace: "shop", Addresses: addrs, Services: map[string][]model.Port{}}
}

func of(w *model.Workload, services ...string) *model.Workload {
	for _, s := range services {
		w.Services[s] = []model.Port{{ServicePort: 80, TargetPort: 8080}}
	}
	return w
}

func service(ns, name string, addrs ...netip.Addr) *model.Service {
	return &model.Service{Name: name, Namespace: ns, Hostname: name + "." + ns + ".svc.cluster.local", Addresses: addrs, Canonical: true}
}

func TestWorkloadComesMovesGoes(t *testing.T) {
	x := New()
	w := workload("u1", a1, a3)
	x.UpsertWorkload(w)
	if x.ByUID("u1") != w || x.ByAddress(a1) != w || x.ByAddress(a3) != w || x.ByAddress(a2) != nil {
		t.Error("not found")
	}
	if x.ByAddress(netip.MustParseAddr("::ffff:10.0.0.1")) != w {
		t.Error("not found by the mapped form of its address")
	}
	g := x.Generation()
	x.UpsertWorkload(w)
	if x.Generation() != g || x.ByAddress(a1) != w {
		t.Error("the same once more is no change")
	}
	moved := workload("u1", netip.MustParseAddr("::ffff:10.0.0.2"), a3)
	x.UpsertWorkload(moved)
	if x.ByAddress(a1) != nil || x.ByAddress(a2) != moved || x.ByAddress(a3) != moved || x.Generation() == g {
		t.Error("not moved")
	}
	if !x.RemoveAddress("u1") || x.RemoveAddress("u1") || x.ByUID("u1") != nil || x.ByAddress(a2) != nil || x.ByAddress(a3) != nil {
		t.Error("not removed")
	}
	if len(x.addresses.first)+len(x.addresses.rest)+len(x.members)+len(x.workloads) != 0 {
		t.Error("something is left behind")
	}
}

// A socket's link-local address carries a zone, a workload's does not, or has another.
func TestAddressWithZone(t *testing.T) {
	x := New()
	w := workload("u1", netip.MustParseAddr("fe80::1%pod"))
	x.UpsertWorkload(w)
	if x.ByAddress(netip.MustParseAddr("fe80::1%eth0")) != w || x.ByAddress(netip.MustParseAddr("fe80::1")) != w {
		t.Error("not found")
	}
	if x.RemoveWorkload("u1"); x.ByAddress(netip.MustParseAddr("fe80::1")) != nil {
		t.Error("not removed")
	}
}

// A policy for a namespace that it does not name is nobody's, least of all the whole mesh's.
func TestNamespacePolicyWithoutNamespace(t *testing.T) {
	x := New()
	x.UpsertPolicy(&model.Policy{Name: "nobody", Scope: model.ScopeNamespace})
	for _, w := range []*model.Workload{{UID: "u1", Namespace: "shop"}, {UID: "u2"}} {
		if list, missing := x.PoliciesFor(w); len(list)+len(missing) > 0 {
			t.Errorf("%s is bound by %v %v", w.UID, list, missing)
		}
	}
	x.RemovePolicy("/nobody")
	if len(x.wide) > 0 {
		t.Errorf("left behind: %v", x.wide)
	}
}

func TestAddressOfSeveral(t *testing.T) {
	x := New()
	old, young := workload("old", a1), workload("young", a1)
	x.UpsertWorkload(old)
	x.UpsertWorkload(young)
	if x.ByAddress(a1) != young {
		t.Error("the latest has the address")
	}
	ending := workload("old", a1) // such as: not ready any more
	ending.Unhealthy = true
	x.UpsertWorkload(ending)
	if x.ByAddress(a1) != young {
		t.Error("news of the former pod take the address from the new one")
	}
	host := workload("host", a1)
	host.HostNetwork = true
	x.UpsertWorkload(host)
	if x.ByAddress(a1) != young {
		t.Error("a host-network pod took the address")
	}
	x.RemoveWorkload("young")
	if x.ByAddress(a1) != ending {
		t.Error("back to the one that is left")
	}
	x.RemoveWorkload("old")
	if x.ByAddress(a1) != host {
		t.Error("the host's")
	}
	x.UpsertWorkload(young)
	if x.ByAddress(a1) != young {
		t.Error("a pod's own address goes before the host's")
	}
	x.RemoveWorkload("host")
	x.RemoveWorkload("young")
	if x.ByAddress(a1) != nil || len(x.addresses.rest) != 0 {
		t.Error("left behind")
	}
}

func TestServices(t *testing.T) {
	x := New()
	s := service("shop", "cart", a1)
	x.UpsertService(s)
	for _, name := range []string{"cart.shop.svc.cluster.local", "Cart.Shop.svc.cluster.local.", s.Hostname} {
		if x.ServiceByHostname(name) != s {
			t.Errorf("%s not found", name)
		}
	}
	if x.ServiceByVIP(a1) != s || x.ServiceByKey("shop/cart.shop.svc.cluster.local") != s || x.ServiceByVIP(a2) != nil {
		t.Error("not found")
	}
	moved := service("shop", "cart", a2)
	x.UpsertService(moved)
	if x.ServiceByVIP(a1) != nil || x.ServiceByVIP(a2) != moved || x.ServiceByHostname(s.Hostname) != moved {
		t.Error("not moved")
	}
	// Another namespace claims the name: what Kubernetes knows wins, whatever came first.
	claim := service("other", "x", a3)
	claim.Hostname, claim.Canonical = s.Hostname, false
	x.UpsertService(claim)
	if x.ServiceByHostname(s.Hostname) != moved || x.ServiceByKey("other/"+s.Hostname) != claim {
		t.Error("claimed")
	}
	x.RemoveService(moved.Key())
	if x.ServiceByHostname(s.Hostname) != claim {
		t.Error("nobody else has it now")
	}
	x.UpsertService(moved)
	if x.ServiceByHostname(s.Hostname) != moved {
		t.Error("the owner is back")
	}
	if !x.RemoveAddress(claim.Key()) || !x.RemoveAddress(moved.Key()) || x.RemoveAddress("nobody") || x.Counts() != (Counts{}) {
		t.Error("not removed")
	}
}

func TestEndpoints(t *testing.T) {
	x := New()
	cart, pay := "shop/cart", "shop/pay"
	w1, w2 := of(workload("1", a1), cart), of(workload("2", a2), cart, pay)
	x.UpsertWorkload(w1) // endpoints may come before their service
	x.UpsertWorkload(w2)
	if got := x.Endpoints(cart); !slices.Equal(got, []*model.Workload{w1, w2}) {
		t.Error(got)
	}
	held := x.Endpoints(cart)
	w1b := of(workload("1", a1), pay)
	x.UpsertWorkload(w1b)
	if got := x.Endpoints(cart); !slices.Equal(got, []*model.Workload{w2}) {
		t.Error(got)
	}
	if got := x.Endpoints(pay); !slices.Equal(got, []*model.Workload{w2, w1b}) {
		t.Error(got)
	}
	w2b := of(workload("2", a2), pay)
	x.UpsertWorkload(w2b)
	x.UpsertWorkload(of(workload("3"), cart))
	if !slices.Equal(held, []*model.Workload{w1, w2}) {
		t.Error("a slice that was handed out has changed")
	}
	if got := x.Endpoints(pay); !slices.Equal(got, []*model.Workload{w2b, w1b}) {
		t.Error(got)
	}
	if cap(x.Endpoints(pay)) != 2 {
		t.Error("appending to what was handed out would write into the index")
	}
	for _, uid := range []string{"1", "2", "3"} {
		x.RemoveWorkload(uid)
	}
	if len(x.members) != 0 {
		t.Error("left behind")
	}
}

func TestPoliciesFor(t *testing.T) {
	x := New()
	policy := func(ns, name string, s model.PolicyScope) *model.Policy {
		p := &model.Policy{Namespace: ns, Name: name, Scope: s}
		x.UpsertPolicy(p)
		return p
	}
	policy("weft-system", "mesh", model.ScopeMesh)
	policy("shop", "ns", model.ScopeNamespace)
	policy("other", "ns", model.ScopeNamespace)
	policy("shop", "sel", model.ScopeSelector)
	policy("shop", "unlisted", model.ScopeSelector)
	w := workload("u")
	w.Policies = []string{"shop/sel", "shop/gone", "shop/ns", "shop/gone"}
	check := func(want, missing string) {
		t.Helper()
		list, lacking := x.PoliciesFor(w)
		got := ""
		for _, p := range list {
			got += p.Key() + " "
		}
		if got != want || fmt.Sprint(lacking) != missing {
			t.Errorf("got %q missing %v, want %q missing %s", got, lacking, want, missing)
		}
	}
	check("shop/ns shop/sel weft-system/mesh ", "[shop/gone]")
	if p := policy("shop", "gone", model.ScopeSelector); x.PolicyByKey("shop/gone") != p {
		t.Error("not found")
	}
	check("shop/gone shop/ns shop/sel weft-system/mesh ", "[]")
	policy("weft-system", "mesh", model.ScopeSelector) // narrowed
	check("shop/gone shop/ns shop/sel ", "[]")
	if !x.RemovePolicy("shop/ns") || x.RemovePolicy("shop/ns") {
		t.Error("removed how often?")
	}
	check("shop/gone shop/sel ", "[shop/ns]") // still listed
	for _, p := range x.Policies() {
		x.RemovePolicy(p.Key())
	}
	if len(x.wide) != 0 || x.Counts().Policies != 0 {
		t.Error("left behind")
	}
}

func TestWaypoint(t *testing.T) {
	x := New()
	s := service("shop", "wp", a1)
	w := of(workload("wp-1", a2), s.Key())
	x.UpsertService(s)
	x.UpsertWorkload(w)
	for name, c := range map[string]struct {
		g       *model.Gateway
		service *model.Service
		pods    int
	}{
		"by name":            {&model.Gateway{Namespace: "shop", Hostname: s.Hostname}, s, 1},
		"by bare name":       {&model.Gateway{Hostname: s.Hostname}, s, 1},
		"by VIP":             {&model.Gateway{Address: a1}, s, 1},
		"by pod":             {&model.Gateway{Address: a2}, nil, 1},
		"of another's":       {&model.Gateway{Namespace: "other", Hostname: s.Hostname}, nil, 0},
		"missing":            {&model.Gateway{Namespace: "shop", Hostname: "nobody"}, nil, 0},
		"at a free address":  {&model.Gateway{Address: a3}, nil, 0},
		"that is not there":  {nil, nil, 0},
		"that names nothing": {&model.Gateway{}, nil, 0},
	} {
		if svc, pods := x.Waypoint(c.g); svc != c.service || len(pods) != c.pods {
			t.Errorf("waypoint %s: %v %v", name, svc, pods)
		}
	}
}

func TestWatchers(t *testing.T) {
	x := New()
	var got []string
	x.OnWorkload(func(uid string, w *model.Workload) {
		got = append(got, fmt.Sprint("w ", uid, " ", w != nil, " ", x.ByUID(uid) == w))
	})
	x.OnService(func(key string, s *model.Service) { got = append(got, fmt.Sprint("s ", key, " ", s != nil)) })
	x.OnPolicy(func(key string, p *model.Policy) { got = append(got, fmt.Sprint("p ", key, " ", p != nil)) })
	w, s, p := workload("u", a1), service("shop", "cart"), &model.Policy{Namespace: "n", Name: "p"}
	for range 2 {
		x.UpsertWorkload(w)
		x.UpsertService(s)
		x.UpsertPolicy(p)
	}
	for range 2 {
		x.RemoveWorkload("u")
		x.RemoveService(s.Key())
		x.RemovePolicy(p.Key())
	}
	want := []string{"w u true true", "s " + s.Key() + " true", "p n/p true", "w u false true", "s " + s.Key() + " false", "p n/p false"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestFromSnapshot(t *testing.T) {
	s := model.NewSnapshot()
	s.Workloads.Set("u2", workload("u2", a2))
	s.Workloads.Set("u1", workload("u1", a1))
	svc := service("shop", "cart", a3)
	s.Services[svc.Key()] = svc
	s.Policies["n/p"] = &model.Policy{Namespace: "n", Name: "p"}
	x := FromSnapshot(s)
	if x.Counts() != (Counts{2, 1, 1}) || x.Workloads()[0].UID != "u1" || x.Workloads()[1].UID != "u2" || x.Services()[0] != svc || x.Policies()[0].Key() != "n/p" {
		t.Error(x.Counts())
	}
}

// Whatever the order of changes, lookups give what a look through all values gives.
func TestAgainstLookingThroughEverything(t *testing.T) {
	d := rand.New(rand.NewPCG(rand.Uint64(), 2))
	x := New()
	all := map[string]*model.Workload{}
	addr := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(d.IntN(12))}) }
	for step := range 20_000 {
		uid := fmt.Sprint("u", d.IntN(10))
		if d.IntN(4) == 0 {
			if x.RemoveWorkload(uid) != (all[uid] != nil) {
				t.Fatal("removal of what is not there")
			}
			delete(all, uid)
		} else {
			w := workload(uid)
			w.HostNetwork = d.IntN(4) == 0
			for range d.IntN(3) {
				w.Addresses = append(w.Addresses, addr())
			}
			for range d.IntN(4) {
				of(w, fmt.Sprint("s", d.IntN(4)))
			}
			x.UpsertWorkload(w)
			all[uid] = w
		}
		a := addr()
		var own, any bool
		for _, w := range all {
			if slices.Contains(w.Addresses, a) {
				any, own = true, own || !w.HostNetwork
			}
		}
		got := x.ByAddress(a)
		if (got != nil) != any || got != nil && (all[got.UID] != got || !slices.Contains(got.Addresses, a) || own && got.HostNetwork) {
			t.Fatalf("step %d: %v is %+v", step, a, got)
		}
		s := fmt.Sprint("s", d.IntN(4))
		want := 0
		for _, w := range all {
			if has(w, s) {
				want++
			}
		}
		eps := x.Endpoints(s)
		for _, w := range eps {
			if all[w.UID] != w || !has(w, s) {
				t.Fatalf("step %d: stale endpoint %s", step, w.UID)
			}
		}
		if len(eps) != want || x.Counts().Workloads != len(all) {
			t.Fatalf("step %d: %d endpoints, want %d", step, len(eps), want)
		}
	}
}

func TestReadersAndWriters(t *testing.T) {
	x := New()
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			for i := range 2000 {
				uid := fmt.Sprint(g, "-", i%7)
				x.UpsertWorkload(of(workload(uid, a1), "shop/cart"))
				x.UpsertPolicy(&model.Policy{Namespace: "shop", Name: uid, Scope: model.ScopeNamespace})
				if i%3 == 0 {
					x.RemoveWorkload(uid)
					x.RemovePolicy("shop/" + uid)
				}
			}
		})
		wg.Go(func() {
			for range 2000 {
				for _, w := range x.Endpoints("shop/cart") {
					if w == nil || w.Namespace != "shop" {
						t.Error("torn")
						return
					}
				}
				x.ByAddress(a1)
				x.PoliciesFor(&model.Workload{Namespace: "shop"})
			}
		})
	}
	wg.Wait()
}

func BenchmarkUpsert100k(b *testing.B) {
	const n = 100_000
	ws := make([]*model.Workload, n)
	for i := range ws {
		ws[i] = of(workload(fmt.Sprint("cluster//Pod/shop/p", i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})), fmt.Sprint("shop/s", i/50))
	}
	for b.Loop() {
		x := New()
		for _, w := range ws {
			x.UpsertWorkload(w)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/workload")
}

func BenchmarkByAddress(b *testing.B) {
	x := New()
	for i := range 10_000 {
		x.UpsertWorkload(workload(fmt.Sprint(i), netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})))
	}
	a := netip.MustParseAddr("10.0.7.7")
	b.ReportAllocs()
	for b.Loop() {
		x.ByAddress(a)
	}
}
