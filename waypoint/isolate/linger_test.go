package isolate

import (
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// A publication that comes while Envoy is on its way to another waits for the step under way, and then sets out from
// there: what Envoy has by then is not forgotten.
func TestOvertakenPublicationIsNotForgotten(t *testing.T) {
	f, answered := answering(t)
	set := func(words ...string) {
		t.Helper()
		if err := f.iso.Set(world(words...)); err != nil {
			t.Fatal(err)
		}
	}
	clusters := func() string {
		var names []string
		for name := range f.offered.GetResources(resource.ClusterType) {
			names = append(names, name)
		}
		return strings.Join(names, " ")
	}
	set("/a", "/b")
	for !f.iso.Sent() || f.iso.m.phase != idle {
		*answered = true
		f.tick()
	}
	set("/a", "/b", "/c") // svc-002 comes: its cluster is there before its address
	sent := f.rounds
	set("/a", "/b") // and is not wanted any more
	if f.rounds != sent || f.iso.Sent() {
		t.Fatalf("sent %d times before Envoy answered, Sent is %v", f.rounds-sent, f.iso.Sent())
	}
	*answered = true
	f.tick()
	if !strings.Contains(clusters(), "svc-002") {
		t.Errorf("what Envoy may use is taken away at once: %s", clusters())
	}
	for !f.iso.Sent() {
		*answered = true
		f.tick()
	}
	if strings.Contains(clusters(), "svc-002") {
		t.Errorf("it is still there in the end: %s", clusters())
	}
}

// A target that is led by server names no more goes on being reached by those who have connected, for a while.
func TestServerNamesLinger(t *testing.T) {
	var offered *cache.Snapshot
	var lingers, stages []func()
	iso, err := New(Options{
		Waypoint: "shop/wp", Publish: func(s *cache.Snapshot) error { offered = s; return nil },
		AfterFunc: func(d time.Duration, g func()) func() bool {
			switch d {
			case translate.HelloLinger:
				lingers = append(lingers, g)
			case 100 * time.Millisecond: // between stages
				stages = append(stages, g)
			}
			return func() bool { return true }
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := func() int {
		for len(stages) > 0 {
			next := stages[0]
			stages = stages[1:]
			next()
		}
		return len(offered.GetResources(resource.RouteType)["sni"].(*routev3.RouteConfiguration).VirtualHosts)
	}
	set := func(routed bool) {
		t.Helper()
		s := world("/a")
		for _, v := range s.Services {
			v.Ports = append(v.Ports, model.Port{ServicePort: 443, TargetPort: 443, App: model.AppTLS})
			if routed {
				r := &model.Route{Namespace: v.Namespace, Name: "tls", Kind: "TLSRoute", Service: v.Key(), Port: 443, Hostnames: []string{"a.example"},
					Rules: []model.RouteRule{{Backends: []model.Backend{{Service: v.Key(), Port: 443, Weight: 1}}}}}
				s.Routes[r.Key()] = r
			}
		}
		if err := iso.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		routed        bool
		rows, lingers int
	}{{false, 0, 0}, {true, 2, 0}, {false, 1, 1}, {true, 2, 1}, {false, 1, 2}} {
		set(step.routed)
		if rows() != step.rows || len(lingers) != step.lingers {
			t.Fatalf("%+v: %d rows, %d lingers", step, rows(), len(lingers))
		}
	}
	lingers[0]() // of the first time it was routed no more; the second lasts
	if rows() != 1 {
		t.Error("the second leave ends with the first")
	}
	lingers[1]()
	if rows() != 0 {
		t.Errorf("%d rows in the end", rows())
	}
}
