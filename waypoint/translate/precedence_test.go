package translate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// Of routes with equal matches the oldest comes first, then the first by namespace and name, then the first rule; a
// narrower match comes before any of them.
func TestPrecedence(t *testing.T) {
	snap := model.NewSnapshot()
	snap.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", Hostname: "wp.shop.svc", For: "service"}
	s := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
		Waypoint: &model.Gateway{Namespace: "shop", Hostname: "wp.shop.svc"}, Ports: []model.Port{{ServicePort: 80, TargetPort: 80, App: model.AppHTTP}}}
	snap.Services[s.Key()] = s
	day := func(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }
	to := []model.Backend{{Service: s.Key(), Port: 80, Weight: 1}}
	rule := func(name string, m model.RouteMatch) model.RouteRule {
		return model.RouteRule{Name: name, Matches: []model.RouteMatch{m}, Backends: to}
	}
	a, narrow := model.RouteMatch{PathKind: model.PathPrefix, Path: "/a"}, model.RouteMatch{PathKind: model.PathPrefix, Path: "/a/b"}
	for _, r := range []*model.Route{
		{Name: "zz", Created: day(1), Rules: []model.RouteRule{rule("first", a), rule("second", a)}},
		{Name: "bb", Created: day(2), Rules: []model.RouteRule{rule("only", a)}},
		{Name: "aa", Created: day(2), Rules: []model.RouteRule{rule("only", a)}},
		{Name: "young", Created: day(3), Rules: []model.RouteRule{rule("narrow", narrow)}},
	} {
		r.Namespace, r.Kind, r.Service = "shop", "HTTPRoute", s.Key()
		snap.Routes[r.Key()] = r
	}
	res, _ := translate.Translate(snap, "shop/wp", translate.Config{})
	var got []string
	for _, rc := range res.Routes {
		if rc.Name == s.Key()+":80" {
			for _, r := range rc.VirtualHosts[0].Routes {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(r.Name, "HTTPRoute/shop/"), "/0"))
			}
		}
	}
	want := []string{"young/narrow", "zz/first", "zz/second", "aa/only", "bb/only"}
	if !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}
