package controller

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// decide asks what a ztunnel would say to a caller of port 8080 of shop/pay-1; sa "" is a caller without identity.
func decide(t *testing.T, snap *model.Snapshot, sa string, port uint16) bool {
	t.Helper()
	w := snap.Workloads.Get("Kubernetes//Pod/shop/pay-1")
	if w == nil {
		t.Fatal("no workload pay-1")
	}
	var bound []*model.Policy
	for _, key := range w.Policies {
		if snap.Policies[key] == nil {
			t.Fatalf("the workload lists policy %s, which is not there", key)
		}
		bound = append(bound, snap.Policies[key])
	}
	for _, p := range snap.Policies {
		if p.Scope == model.ScopeMesh || p.Scope == model.ScopeNamespace && p.Namespace == w.Namespace {
			bound = append(bound, p)
		}
	}
	c := policy.Conn{SourceIP: netip.MustParseAddr("192.0.2.7"), Dest: netip.AddrPortFrom(w.Addresses[0], port)}
	if sa != "" {
		c.Source = identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: sa}
	}
	return policy.Compile(bound).Decide(c).Allowed
}

// Whatever cannot be evaluated refuses, and what narrower scopes permit is permitted.
func TestVerdicts(t *testing.T) {
	type ask struct {
		sa   string
		port uint16
		want bool
	}
	for file, asks := range map[string][]ask{
		"basic":                nil,
		"authz-l7-at-ztunnel":  {{"cart", 8080, false}, {"", 8080, false}},
		"authz-invalid":        {{"cart", 8080, false}},
		"authz-target-nowhere": {{"cart", 8080, false}, {"", 8080, false}},
		"authz-target":         {{"wp", 8080, true}},
		"authentication":       {{"cart", 8080, false}, {"", 8080, false}}, // tokens required, and no waypoint
		"policies-unread":      {{"cart", 8080, false}, {"wp", 8080, false}, {"", 8080, false}},
		"authz-behind-waypoint": {
			{"cart", 8080, true}, {"evil", 8080, false}, {"other", 8080, false}, {"", 8080, false}, {"wp", 8080, true}},
		"authz-l4":            {{"cart", 8080, true}, {"other", 8080, false}, {"", 8080, false}},
		"peer-mesh":           {{"cart", 8080, true}, {"", 8080, false}},
		"peer-override":       {{"", 8080, true}, {"", 9090, false}, {"cart", 9090, true}},
		"peer-shadowed-ports": {{"", 8080, true}, {"", 81, false}, {"cart", 81, true}},
	} {
		snap, _, _ := compileFiles(t, "testdata/"+file+".in.yaml")
		for _, a := range asks {
			if got := decide(t, snap, a.sa, a.port); got != a.want {
				t.Errorf("%s: caller %q of port %d allowed: %v, want %v", file, a.sa, a.port, got, a.want)
			}
		}
	}
}

// A waypoint that is named and is not there stays named, or ztunnels would send past it.
func TestMissingWaypointStaysNamed(t *testing.T) {
	snap, statuses, _ := compileFiles(t, "testdata/waypoint-missing.in.yaml")
	s := snap.Services["shop/pay.shop.svc.cluster.local"]
	if s.Waypoint == nil || s.Waypoint.Hostname != "gone.shop.svc.cluster.local" {
		t.Errorf("waypoint %+v", s.Waypoint)
	}
	for _, st := range statuses {
		if c := st.Condition(conditionBound); st.Kind == "Service" && st.Name == "pay" && c != nil && c.Reason == "WaypointNotFound" {
			return
		}
	}
	t.Errorf("no status says that the waypoint is missing: %+v", statuses)
}

// Every bad route says why in its own words, and none is silently served.
func TestBadRoutes(t *testing.T) {
	snap, statuses, _ := compileFiles(t, "testdata/routes-bad.in.yaml")
	for name, want := range map[string][2]string{
		"missing": {conditionResolvedRefs, "BackendNotFound"}, "notgranted": {conditionResolvedRefs, "RefNotPermitted"},
		"noport": {conditionResolvedRefs, "BackendNotFound"}, "parent": {conditionAccepted, "NoMatchingParent"},
		"parentport": {conditionAccepted, "NoMatchingParent"},
		"filter":     {conditionAccepted, "UnsupportedValue"}, "regex": {conditionAccepted, "UnsupportedValue"},
	} {
		found := false
		for _, s := range statuses {
			if s.Kind != "HTTPRoute" || s.Name != name || len(s.Parents) == 0 {
				continue
			}
			c := findCondition(s.Parents[0].Conditions, want[0])
			found = c != nil && c.Status == "False" && c.Reason == want[1] && c.Message != ""
		}
		if !found {
			t.Errorf("route %s: want %s=False, reason %s", name, want[0], want[1])
		}
	}
	for _, r := range snap.Routes {
		rule := r.Rules[0]
		switch r.Name {
		case "missing", "notgranted", "noport":
			if rule.Backends[0].Invalid == "" {
				t.Errorf("route %s: its backend is served", r.Name)
			}
		case "filter", "regex":
			if rule.Invalid == "" {
				t.Errorf("route %s: its rule is served", r.Name)
			}
		case "parent", "parentport":
			t.Errorf("route %s is attached", r.Name)
		}
	}
}
