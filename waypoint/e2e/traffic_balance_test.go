package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// spread asks n times and counts who answers.
func (m *mesh) spread(n int, c *http.Client, path string, header ...string) map[string]int {
	m.t.Helper()
	out := map[string]int{}
	for range n {
		out[podOf(m.t, c, "GET", path, header...)]++
	}
	return out
}

// Whatever is hashed, requests that are alike go to one pod, and those that differ not all to the same.
func TestTrafficHashing(t *testing.T) {
	m := newMesh(t)
	for range 4 {
		m.pod("cart", pods)
	}
	for _, tc := range []struct {
		name      string
		algorithm model.Algorithm
		hash      model.Hash
		request   func(user int) (path string, header []string)
	}{
		{"header", model.RingHash, model.Hash{Header: "x-user"}, func(u int) (string, []string) { return "/", []string{"x-user", fmt.Sprint(u)} }},
		{"header-maglev", model.Maglev, model.Hash{Header: "x-user"}, func(u int) (string, []string) { return "/", []string{"x-user", fmt.Sprint(u)} }},
		{"query", model.RingHash, model.Hash{Query: "user"}, func(u int) (string, []string) { return fmt.Sprint("/?user=", u), nil }},
		{"cookie", model.Maglev, model.Hash{Cookie: "sticky", Path: "/"}, func(u int) (string, []string) { return "/", []string{"Cookie", fmt.Sprint("sticky=", u)} }},
	} {
		m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: tc.algorithm, Hash: &tc.hash}})
		m.eventually(tc.name+" decides", func() error {
			used := map[string]bool{}
			for user := range 12 {
				path, header := tc.request(user)
				by := m.spread(4, m.http, path, header...)
				if len(by) != 1 {
					return fmt.Errorf("user %d: %v", user, by)
				}
				for pod := range by {
					used[pod] = true
				}
			}
			if len(used) < 2 {
				return fmt.Errorf("all users at %v", used)
			}
			return nil
		})
	}
}

// A caller without the cookie is given one, and with it stays where it was sent first.
func TestTrafficHashCookie(t *testing.T) {
	m := newMesh(t)
	for range 4 {
		m.pod("cart", pods)
	}
	m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: model.RingHash, Hash: &model.Hash{Cookie: "sticky", TTL: time.Hour, Path: "/"}}})
	m.eventually("a cookie is given", func() error {
		code, e, h, err := ask(m.http, "GET", "/")
		if err != nil || code != 200 {
			return fmt.Errorf("%d %w", code, err)
		}
		cookies := (&http.Response{Header: h}).Cookies()
		if len(cookies) != 1 || cookies[0].Name != "sticky" || cookies[0].MaxAge != 3600 || !cookies[0].HttpOnly {
			return fmt.Errorf("cookies %v", cookies)
		}
		if by := m.spread(10, m.http, "/", "Cookie", "sticky="+cookies[0].Value); by[e.Pod] != 10 {
			return fmt.Errorf("%s gave the cookie, but %v answered to it", e.Pod, by)
		}
		return nil
	})
}

// A hash of the caller: its identity, which all its pods share, or its address.
func TestTrafficHashSource(t *testing.T) {
	m := newMesh(t)
	for range 6 {
		m.pod("cart", pods)
	}
	from := func(uri, ip string) *http.Client {
		c := m.caller(uri)
		c.Forwarded = fmt.Sprintf("for=%q;host=cart", ip+":1234")
		return c.HTTP(t, vip)
	}
	// Identity: two addresses of one identity meet at one pod.
	m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: model.RingHash, Hash: &model.Hash{Identity: true}}})
	a1, a2 := from(frontend, "10.5.0.1"), from(frontend, "10.5.0.2")
	m.eventually("an identity stays at its pod", func() error {
		one, two := m.spread(10, a1, "/"), m.spread(10, a2, "/")
		if len(one) != 1 || fmt.Sprint(one) != fmt.Sprint(two) {
			return fmt.Errorf("%v and %v", one, two)
		}
		return nil
	})
	// Address: each stays at its own, and they are not all the same.
	m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: model.RingHash, Hash: &model.Hash{SourceIP: true}}})
	var callers []*http.Client
	for i := range 8 {
		callers = append(callers, from(frontend, fmt.Sprint("10.5.1.", i)))
	}
	m.eventually("an address stays at its pod", func() error {
		used := map[string]bool{}
		for i, c := range callers {
			by := m.spread(5, c, "/")
			if len(by) != 1 {
				return fmt.Errorf("caller %d: %v", i, by)
			}
			for pod := range by {
				used[pod] = true
			}
		}
		if len(used) < 2 {
			return fmt.Errorf("all callers at %v", used)
		}
		return nil
	})
}

func TestTrafficSubset(t *testing.T) {
	m := newMesh(t)
	m.snap.Workloads.Get("test//Pod/shop/cart-10").Labels = map[string]string{"version": "v1"}
	v2 := m.pod("cart", pods)
	m.snap.Workloads.Get("test//Pod/shop/" + v2.Name).Labels = map[string]string{"version": "v2"}
	b := []model.Backend{backend(key, 1)}
	m.route("r", model.RouteRule{Name: "canary", Matches: []model.RouteMatch{{Headers: []model.NameMatch{{Name: "x-canary", Value: "yes"}}}}, Backends: b},
		model.RouteRule{Name: "none", Matches: []model.RouteMatch{{Headers: []model.NameMatch{{Name: "x-canary", Value: "none"}}}}, Backends: b},
		model.RouteRule{Backends: b})
	rule := func(name string) model.Target { return model.Target{Route: "HTTPRoute/shop/r", Rule: name} }
	m.traffic("none", rule("none"), &model.TrafficPolicy{Subset: map[string]string{"version": "v3"}})
	m.traffic("canary", rule("canary"), &model.TrafficPolicy{Subset: map[string]string{"version": "v2"}})
	m.statusIs(503, m.http, "GET", "/", "x-canary", "none") // nobody, rather than others
	m.eventually("the canary has its rule alone", func() error {
		if by := m.spread(20, m.http, "/", "x-canary", "yes"); by[v2.Name] != 20 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
	if by := m.spread(40, m.http, "/"); len(by) != 2 {
		t.Errorf("without a subset all endpoints serve: %v", by)
	}
	m.traffic("stable", cartService, &model.TrafficPolicy{Subset: map[string]string{"version": "v1"}})
	m.eventually("all else goes to the stable one", func() error {
		if by := m.spread(20, m.http, "/"); by["cart-10"] != 20 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
	if by := m.spread(20, m.http, "/", "x-canary", "yes"); by[v2.Name] != 20 {
		t.Errorf("the rule's own subset comes first: %v", by)
	}
}

// zoned is a waypoint in zone a with pods in zones a, b and c.
func zoned(t *testing.T) (m *mesh, at map[string]*testmesh.Pod) {
	m = newMesh(t)
	place := func(p *testmesh.Pod, zone string) {
		m.snap.Workloads.Get("test//Pod/shop/" + p.Name).Locality = model.Locality{Region: "r", Zone: zone}
		at[zone] = p
	}
	at = map[string]*testmesh.Pod{}
	place(m.pods[0], "a")
	place(m.pod("cart", pods), "b")
	place(m.pod("cart", pods), "c")
	m.snap.Workloads.Set("wp", &model.Workload{UID: "wp", Name: "wp", Namespace: "shop", TrustDomain: domain, NativeTunnel: true, Protocol: model.HBONE,
		Locality: model.Locality{Region: "r", Zone: "a"}, Services: map[string][]model.Port{"shop/wp.shop.svc.cluster.local": {{ServicePort: 15008, TargetPort: 15008}}}})
	return m, at
}

func (m *mesh) only(pod *testmesh.Pod, why string) {
	m.t.Helper()
	m.eventually(why, func() error {
		if by := m.spread(20, m.http, "/"); by[pod.Name] != 20 {
			return fmt.Errorf("%v, want %s", by, pod.Name)
		}
		return nil
	})
}

func TestTrafficZoneFailover(t *testing.T) {
	m, at := zoned(t)
	unready := func(zone string, down bool) {
		w := *m.snap.Workloads.Get("test//Pod/shop/" + at[zone].Name)
		w.Unhealthy = down
		m.snap.Workloads.Set(w.UID, &w)
		m.publish()
	}
	m.traffic("p", cartService, &model.TrafficPolicy{Locality: &model.LocalityPolicy{Prefer: []model.Scope{model.ScopeRegion, model.ScopeZone}, Failover: []string{"c", "b"}}})
	m.only(at["a"], "the near zone serves")
	unready("a", true)
	m.only(at["c"], "then the first to fail over to")
	unready("c", true)
	m.only(at["b"], "then the second")
	unready("a", false)
	m.only(at["a"], "the near zone is back")
}

func TestTrafficZoneShares(t *testing.T) {
	m, at := zoned(t)
	m.traffic("p", cartService, &model.TrafficPolicy{Locality: &model.LocalityPolicy{Distribute: map[string]map[string]uint32{"a": {"a": 20, "b": 80}, "*": {"c": 100}}}})
	m.eventually("zone b has four in five, zone c nothing", func() error {
		by := m.spread(200, m.http, "/")
		if b := by[at["b"].Name]; b < 130 || b > 185 || by[at["c"].Name] != 0 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
}

// Algorithms and panic are in force: Envoy takes them, and keeps on serving through the change.
func TestTrafficAlgorithms(t *testing.T) {
	m := newMesh(t)
	for range 2 {
		m.pod("cart", pods)
	}
	names := func() (out []string) {
		for _, p := range m.pods {
			out = append(out, p.Name)
		}
		return out
	}()
	for _, b := range []model.Balance{
		{Algorithm: model.RoundRobin},
		{Algorithm: model.RandomEndpoint},
		{Algorithm: model.LeastConnections, SlowStart: &model.SlowStart{Window: time.Second, Aggression: 1, MinPercent: 10}},
		{Algorithm: model.RoundRobin, SlowStart: &model.SlowStart{Window: time.Second, Aggression: 2, MinPercent: 50}},
	} {
		m.traffic("p", cartService, &model.TrafficPolicy{Balance: &b})
		m.eventually(fmt.Sprintf("all serve by %v", b.Algorithm), func() error {
			by := m.spread(60, m.http, "/")
			for pod := range by {
				if !slices.Contains(names, pod) {
					t.Fatalf("%v", by)
				}
			}
			if len(by) != 3 {
				return fmt.Errorf("%v", by)
			}
			return nil
		})
	}
	// In turn is even: chance would be off by some twenty.
	m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: model.RoundRobin}})
	m.eventually("each serves a third in turn", func() error {
		by := m.spread(600, m.http, "/")
		for _, n := range by {
			if n < 197 || n > 203 {
				return fmt.Errorf("%v", by)
			}
		}
		return nil
	})
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("Envoy refuses: %v", n)
	}
	// In panic even those that are not ready are asked.
	for id, w := range m.snap.Workloads.All() {
		down := *w
		down.Unhealthy = true
		m.snap.Workloads.Set(id, &down)
	}
	m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Panic: 0}})
	m.statusIs(503, m.http, "GET", "/")
	m.traffic("p", cartService, &model.TrafficPolicy{Balance: &model.Balance{Panic: 50}})
	m.statusIs(200, m.http, "GET", "/")
}
