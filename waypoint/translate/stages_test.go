package translate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// small is a waypoint with services at addresses, each with a route to one backend.
func small(t *testing.T, services map[string]string, backends map[string]string) *translate.Resources {
	t.Helper()
	s := model.NewSnapshot()
	s.TrustDomain = "cluster.local"
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
	add := func(name, vip string) {
		svc := &model.Service{Name: name, Namespace: "shop", Hostname: name, Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}}}
		if vip != "" {
			svc.Addresses, svc.Waypoint = []netip.Addr{netip.MustParseAddr(vip)}, &model.Gateway{Hostname: "wp"}
		}
		s.Services[svc.Key()] = svc
	}
	for name, vip := range services {
		add(name, vip)
	}
	for name, to := range backends {
		if _, ok := services[to]; !ok {
			add(to, "")
		}
		r := &model.Route{Namespace: "shop", Name: name, Kind: "HTTPRoute", Service: "shop/" + name, Rules: []model.RouteRule{{Backends: []model.Backend{{Service: "shop/" + to, Port: 80, Weight: 1}}}}}
		s.Routes[r.Key()] = r
	}
	res, problems := translate.Translate(s, "shop/wp", translate.Config{})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return res
}

// story tells a stage in a line: clusters of services | CONNECT rows | where routes lead | scopes.
func story(r *translate.Resources) string {
	var clusters, rows, routes, scopes []string
	for _, c := range r.Clusters {
		if n, ok := strings.CutPrefix(c.Name, "shop/"); ok {
			clusters = append(clusters, strings.TrimSuffix(n, ":80"))
		}
	}
	for _, rc := range r.Routes {
		for _, vh := range rc.VirtualHosts {
			if rc.Name == "hbone" {
				rows = append(rows, vh.Domains[0])
				continue
			}
			routes = append(routes, strings.TrimPrefix(rc.Name, "shop/")[:1]+">"+strings.TrimPrefix(vh.Routes[0].GetRoute().GetCluster(), "shop/")[:1])
		}
	}
	for _, s := range r.Scopes {
		scopes = append(scopes, s.Key.Fragments[0].GetStringKey()+"="+strings.TrimPrefix(s.RouteConfigurationName, "shop/")[:1])
	}
	var out []string
	for _, list := range [][]string{clusters, rows, routes, scopes} {
		slices.Sort(list)
		out = append(out, strings.Join(list, " "))
	}
	return strings.ReplaceAll(strings.Join(out, " | "), ":80", "")
}

func TestStages(t *testing.T) {
	const a, b = "10.0.0.1", "10.0.0.2"
	for _, tc := range []struct {
		name       string
		prev, next *translate.Resources
		want       []string
	}{
		{"from nothing", nil, small(t, map[string]string{"a": a}, nil), []string{"a | 10.0.0.1 | a>a | 10.0.0.1=a"}},
		{"nothing new", small(t, map[string]string{"a": a}, nil), small(t, map[string]string{"a": a}, nil), []string{"a | 10.0.0.1 | a>a | 10.0.0.1=a"}},
		{"a service comes", small(t, map[string]string{"a": a}, nil), small(t, map[string]string{"a": a, "b": b}, nil), []string{
			"a b | 10.0.0.1 | a>a b>b | 10.0.0.1=a 10.0.0.2=b",
			"a b | 10.0.0.1 10.0.0.2 | a>a b>b | 10.0.0.1=a 10.0.0.2=b",
		}},
		{"a service goes", small(t, map[string]string{"a": a, "b": b}, nil), small(t, map[string]string{"a": a}, nil), []string{
			"a b | 10.0.0.1 | a>a b>b | 10.0.0.1=a 10.0.0.2=b",
			"a | 10.0.0.1 | a>a | 10.0.0.1=a",
		}},
		{"another backend", small(t, map[string]string{"a": a}, map[string]string{"a": "c"}), small(t, map[string]string{"a": a}, map[string]string{"a": "d"}), []string{
			"a c d | 10.0.0.1 | a>c | 10.0.0.1=a",
			"a c d | 10.0.0.1 | a>d | 10.0.0.1=a",
			"a d | 10.0.0.1 | a>d | 10.0.0.1=a",
		}},
		{"an address changes hands", small(t, map[string]string{"a": a}, nil), small(t, map[string]string{"b": a}, nil), []string{
			"a b |  | a>a b>b | 10.0.0.1=b",
			"a b | 10.0.0.1 | a>a b>b | 10.0.0.1=b",
			"b | 10.0.0.1 | b>b | 10.0.0.1=b",
		}},
	} {
		var got []string
		for _, r := range tc.next.Stages(tc.prev) {
			got = append(got, story(r))
			validate(t, r)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, tc.want)
		}
	}
}
