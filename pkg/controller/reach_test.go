package controller

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/policy"
)

// Which waypoint may enter which workload: only those that its own namespace put before it.
func TestWhichWaypointsEnter(t *testing.T) {
	snap, _, _ := compileFiles(t, "testdata/authz-waypoint-reach.in.yaml")
	idx := index.FromSnapshot(snap)
	enters := map[string]string{
		"shop/pay-1":   "infra/edge", // by the service's label
		"shop/front-1": "shop/wp",    // by the namespace's
		"shop/peers-1": "",           // headless: nobody calls it through a waypoint
		"infra/solo-1": "infra/pods", // by its own label
		"bank/vault-1": "",           // reached by another namespace's route alone
	}
	for pod, want := range enters {
		w := idx.ByUID("Kubernetes//Pod/" + pod)
		if w == nil {
			t.Fatalf("no workload %s", pod)
		}
		list, missing := idx.PoliciesFor(w)
		if len(missing) > 0 {
			t.Errorf("%s lists policies that are not there: %v", pod, missing)
		}
		set := policy.Compile(list)
		for _, who := range []string{"shop/wp", "infra/edge", "infra/pods", "shop/front", "bank/teller"} {
			ns, sa, _ := strings.Cut(who, "/")
			v := set.Decide(policy.Conn{Source: identity.Identity{TrustDomain: "cluster.local", Namespace: ns, ServiceAccount: sa},
				SourceIP: netip.MustParseAddr("192.0.2.1"), Dest: netip.AddrPortFrom(w.Addresses[0], 8080)})
			if v.Allowed != (who == want) {
				t.Errorf("%s enters %s: %v (%s)", who, pod, v.Allowed, v.Reason)
			}
			if v.Allowed && len(v.DryRun) > 0 {
				t.Errorf("%s enters %s, and %v in dry run objects to the waypoint itself", who, pod, v.DryRun)
			}
		}
	}
	for _, binding := range []string{"Kubernetes//Pod/bank/vault-1", "Kubernetes//Pod/shop/pay-1", "shop/front.shop.svc.cluster.local"} {
		if !strings.Contains(strings.Join(snap.Bindings.Get(binding), " "), "weft-system/mesh-callers@workloads weft-system/mesh-not@workloads") {
			t.Errorf("waypoints do not ask the mesh's policies for %s: %v", binding, snap.Bindings.Get(binding))
		}
	}
}
