package translate_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// BenchmarkTranslate is a waypoint of 200 services in a mesh of 10,000 workloads.
func BenchmarkTranslate(b *testing.B) {
	s := model.NewSnapshot()
	s.TrustDomain = "cluster.local"
	s.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp", For: "service"}
	for i := range 200 {
		svc := &model.Service{Name: fmt.Sprint(i), Namespace: "shop", Hostname: fmt.Sprint(i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
			Waypoint: &model.Gateway{Hostname: "wp"}, Ports: []model.Port{{ServicePort: 80, TargetPort: 8080, App: model.AppHTTP}}}
		s.Services[svc.Key()] = svc
		r := &model.Route{Namespace: "shop", Name: fmt.Sprint(i), Kind: "HTTPRoute", Service: svc.Key(), Rules: []model.RouteRule{{Backends: []model.Backend{{Service: svc.Key(), Port: 80, Weight: 1}}}}}
		s.Routes[r.Key()] = r
		for j := range 50 {
			w := &model.Workload{UID: fmt.Sprint(i, "/", j), Name: fmt.Sprint(i, "-", j), Namespace: "shop", ServiceAccount: "x", TrustDomain: "cluster.local", Protocol: model.HBONE,
				Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i), byte(j)})}, Services: map[string][]model.Port{svc.Key(): svc.Ports}}
			s.Workloads.Set(w.UID, w)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		res, _ := translate.Translate(s, "shop/wp", translate.Config{})
		if len(res.Clusters) != 203 {
			b.Fatal(len(res.Clusters))
		}
	}
}
