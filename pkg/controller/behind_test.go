package controller

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/translate"
)

// Policies made up at random mean the same with a waypoint and without one, to every caller, by every way:
// through the service as HTTP and as TCP, and to the pods themselves; and by the book.
func TestRandomPoliciesMeanTheSame(t *testing.T) {
	plain, _ := load(t, "testdata/behind/shop.yaml")
	behind, problems := load(t, "testdata/behind/shop.yaml", "testdata/behind/waypoint.yaml")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	behind.Namespaces = nil
	for _, n := range plain.Namespaces {
		if n.Value.Name == "shop" {
			n.Value = n.Value.DeepCopy()
			n.Value.Labels[api.LabelUseWaypoint] = "wp"
		}
		behind.Namespaces = append(behind.Namespaces, n)
	}
	d := dice{rand.New(rand.NewPCG(1, 2))}
	asked := map[bool]int{}
	for round := range 500 {
		var policies []*api.AuthorizationPolicy
		plain.AuthorizationPolicies, behind.AuthorizationPolicies = nil, nil
		for i := range 1 + d.IntN(3) {
			p := d.policy(fmt.Sprintf("p%d", i))
			policies = append(policies, p)
			o := source.Object[api.AuthorizationPolicy]{Value: p}
			plain.AuthorizationPolicies = append(plain.AuthorizationPolicies, o)
			behind.AuthorizationPolicies = append(behind.AuthorizationPolicies, o)
		}
		w := newWays(t, plain, behind)
		for _, caller := range bookCallers {
			for _, ip := range []string{"192.0.2.7", "192.0.2.8", "203.0.113.1"} {
				c := call{caller: caller, ip: netip.MustParseAddr(ip), method: oneOf(d, "GET", "POST", "PUT"), path: oneOf(d, "/a", "/b/c", "/x"), token: d.token()}
				if bad := w.compare(policies, c, asked); bad != "" {
					text, _ := yaml.Marshal(policies)
					t.Fatalf("round %d, %s %s by %s from %s: %s\n%s", round, c.method, c.path, caller.Principal(), ip, bad, text)
				}
			}
		}
	}
	if asked[true] < 1000 || asked[false] < 1000 {
		t.Errorf("the policies say too little: %v", asked)
	}
}

// ways are the two meshes, compiled.
type ways struct {
	t             *testing.T
	plain, behind *model.Snapshot
	plainIdx, idx *index.Index
	envoy         *translate.Resources
}

func newWays(t *testing.T, plain, behind *source.Objects) *ways {
	w := &ways{t: t}
	w.plain, _ = Compile(plain, Config{})
	w.behind, _ = Compile(behind, Config{})
	w.plainIdx, w.idx = index.FromSnapshot(w.plain), index.FromSnapshot(w.behind)
	w.envoy, _ = translate.Translate(w.behind, "shop/wp", translate.Config{})
	return w
}

// compare returns what differs.
func (w *ways) compare(policies []*api.AuthorizationPolicy, c call, asked map[bool]int) string {
	for port, requests := range map[uint16]bool{80: true, 5432: false} {
		book, tunnelled := true, true
		for _, e := range w.behind.Workloads.All() {
			target := endpointsOf(w.behind, payments, port)[e]
			if target == 0 {
				continue
			}
			at := c
			at.port, at.requests = target, requests
			at.namespace, at.app, at.stage = "shop", "pay", map[string]string{"pay-1": "one", "pay-2": "two"}[e.Name]
			book = book && byTheBook(policies, at)
			at.requests, at.ztunnel = false, true
			direct := byTheBook(policies, at)
			if got := w.decide(w.plainIdx, e, c.caller, c.ip, target); got != direct {
				return fmt.Sprintf("without a waypoint, to %s port %d: %v, by the book %v", e.Name, target, got, direct)
			}
			if got := w.decide(w.idx, e, c.caller, c.ip, target); got != direct {
				return fmt.Sprintf("behind a waypoint, past it to %s port %d: %v, by the book %v", e.Name, target, got, direct)
			}
			for _, sa := range []string{"stranger", "other-wp"} {
				who := identity.Identity{TrustDomain: "cluster.local", Namespace: "infra", ServiceAccount: sa}
				if got, want := w.decide(w.idx, e, who, c.ip, target), w.decide(w.plainIdx, e, who, c.ip, target); got != want {
					return fmt.Sprintf("%s enters %s: %v, without a waypoint %v", who, e.Name, got, want)
				}
			}
			tunnelled = tunnelled && w.decide(w.idx, e, waypointIdentity(w.behind.Waypoints["shop/wp"]), netip.MustParseAddr("10.1.9.9"), target)
		}
		asked[book]++
		if !tunnelled {
			return fmt.Sprintf("the workloads behind port %d refuse their waypoint", port)
		}
		if got := envoyAllows(w.t, w.envoy, fmt.Sprintf("%s:%d", payments, port), c); got != book {
			return fmt.Sprintf("through the waypoint on port %d: %v, by the book %v", port, got, book)
		}
	}
	return ""
}

const payments = "shop/pay.shop.svc.cluster.local"

func (w *ways) decide(idx *index.Index, e *model.Workload, who identity.Identity, ip netip.Addr, port uint16) bool {
	list, missing := idx.PoliciesFor(idx.ByUID(e.UID))
	if len(missing) > 0 {
		w.t.Fatalf("%s lists policies that are not there: %v", e.Name, missing)
	}
	return policy.Compile(list).Decide(policy.Conn{Source: who, SourceIP: ip, Dest: netip.AddrPortFrom(e.Addresses[0], port)}).Allowed
}
