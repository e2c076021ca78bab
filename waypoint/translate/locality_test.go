package translate_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// priorities tells which endpoints are taken first, by the node and zone that they are named for.
func priorities(t *testing.T, strict bool, waypoints ...string) string {
	t.Helper()
	s := model.NewSnapshot()
	s.TrustDomain = "cluster.local"
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
	svc := &model.Service{Name: "a", Namespace: "shop", Hostname: "a", Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}},
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Waypoint: &model.Gateway{Hostname: "wp"},
		Preference: []model.Scope{model.ScopeZone, model.ScopeNode}, StrictPreference: strict}
	s.Services[svc.Key()] = svc
	add := func(kind, at, service string, ip byte) {
		zone, node, _ := strings.Cut(at, "/")
		s.Workloads.Set(kind+at, &model.Workload{UID: kind + at, Name: kind, Namespace: "shop", TrustDomain: "cluster.local", ServiceAccount: kind,
			Node: node, Locality: model.Locality{Zone: zone}, Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, ip})},
			Services: map[string][]model.Port{service: svc.Ports}, Unhealthy: strings.HasSuffix(at, "!")})
	}
	names := map[string]string{}
	for i, at := range []string{"z1/n1", "z1/n2", "z2/n3"} {
		add("a", at, svc.Key(), byte(i+1))
		names[fmt.Sprintf("10.1.0.%d", i+1)] = at
	}
	for i, at := range waypoints {
		add("wp", at, "shop/wp", byte(100+i))
	}
	res, _ := translate.Translate(s, "shop/wp", translate.Config{})
	validate(t, res)
	var out []string
	for _, l := range res.Endpoints[0].Endpoints {
		for _, e := range l.LbEndpoints {
			out = append(out, fmt.Sprintf("%d:%s", l.Priority, names[e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()]))
		}
	}
	return strings.Join(out, " ")
}

// A waypoint prefers endpoints near to where all of its pods are.
func TestNearEndpointsFirst(t *testing.T) {
	for _, tc := range []struct {
		waypoints []string
		strict    bool
		want      string
	}{
		{nil, false, "0:z1/n1 0:z1/n2 0:z2/n3"},
		{[]string{"z1/n1"}, false, "0:z1/n1 1:z1/n2 2:z2/n3"},
		{[]string{"z1/n1"}, true, "0:z1/n1 1:z1/n2 2:z2/n3"}, // near to the client is meant: nobody is left out
		{[]string{"z1/n1", "z1/n2"}, false, "0:z1/n1 0:z1/n2 1:z2/n3"},
		{[]string{"z1/n1", "z2/n3"}, false, "0:z1/n1 0:z1/n2 0:z2/n3"},
		{[]string{"z2/n3", "z1/n1!"}, false, "0:z2/n3 1:z1/n1 1:z1/n2"},
	} {
		if got := priorities(t, tc.strict, tc.waypoints...); got != tc.want {
			t.Errorf("waypoint's pods in %v: %s, want %s", tc.waypoints, got, tc.want)
		}
	}
}
