package isolate

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
)

// huge is a regular expression that Go compiles and Envoy refuses for the size of its program.
func huge(tag string) string { return "/" + tag + strings.Repeat("(abcdefghij|klmnopqrst){100}", 12) }

// real is the real Envoy with an Isolator before it.
type real struct {
	t     *testing.T
	iso   *Isolator
	envoy *testmesh.Envoy
	mesh  func(byte) netip.Addr
	ca    *testmesh.CA
	snap  *model.Snapshot
}

func startReal(t *testing.T) *real {
	t.Helper()
	r := &real{t: t, ca: testmesh.NewCA(t), mesh: testmesh.Network()}
	pod := testmesh.StartPod(t, r.ca, "pod", r.mesh(10), 15008, "spiffe://cluster.local/ns/shop/sa/cart")
	iso, err := New(Options{
		Waypoint: "shop/wp", Config: translate.Config{Listen: []netip.Addr{r.mesh(1)}},
		Publish: func(s *cache.Snapshot) error { r.envoy.SetCache(s); return nil },
		// As in production. Silence alone would be taken for acceptance on a busy machine, where Envoy answers late, and then
		// the search finds others than the culprits.
		Connected: func() bool { return r.envoy.Connected() },
		Current:   func() bool { return r.envoy.Current() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(iso.Close)
	r.iso = iso
	r.envoy = testmesh.StartEnvoy(t, r.ca, "spiffe://cluster.local/ns/shop/sa/wp", func(e *testmesh.Envoy) {
		e.OnNack = func(n testmesh.Nack) {
			if err := iso.Nack(n.Type, n.Version, n.Message); err != nil {
				t.Error(err)
			}
		}
	})
	r.snap = world(words(8, nil)...)
	for key, s := range r.snap.Services {
		w := &model.Workload{UID: "pod-" + s.Name, Name: "pod-" + s.Name, Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local",
			Addresses: []netip.Addr{pod.Addr}, Protocol: model.HBONE, Services: map[string][]model.Port{key: {{ServicePort: 80, TargetPort: testmesh.HTTPPort}}}}
		r.snap.Workloads.Set(w.UID, w)
	}
	return r
}

// edit publishes a copy of the snapshot with other paths of routes.
func (r *real) edit(paths map[int]string) {
	r.t.Helper()
	next := *r.snap
	next.Routes = map[string]*model.Route{}
	for k, v := range r.snap.Routes {
		next.Routes[k] = v
	}
	for i, p := range paths {
		key := fmt.Sprintf("HTTPRoute/shop/route-%03d", i)
		route := *next.Routes[key]
		rule := route.Rules[0]
		rule.Matches = []model.RouteMatch{{PathKind: model.PathRegex, Path: p}}
		route.Rules = []model.RouteRule{rule}
		next.Routes[key] = &route
	}
	r.snap = &next
	if err := r.iso.Set(r.snap); err != nil {
		r.t.Fatal(err)
	}
}

func (r *real) client(i int) *http.Client {
	c := testmesh.NewClient(r.t, r.ca, r.ca.Pair("spiffe://cluster.local/ns/shop/sa/frontend"), netip.AddrPortFrom(r.mesh(1), 15008).String(), "spiffe://cluster.local/ns/shop/sa/wp")
	return c.HTTP(r.t, fmt.Sprintf("10.96.0.%d:80", i+1))
}

func (r *real) answers(i int, path string, want int) {
	r.t.Helper()
	c := r.client(i)
	testmesh.Eventually(r.t, 10*time.Second, fmt.Sprintf("service %d answers %s with %d", i, path, want), func() error {
		res, err := c.Get("http://svc" + path)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != want {
			return fmt.Errorf("%d", res.StatusCode)
		}
		return nil
	})
}

// names waits until exactly these objects are in problems.
func (r *real) names(want ...string) {
	r.t.Helper()
	testmesh.Eventually(r.t, 15*time.Second, fmt.Sprintf("problems name %v", want), func() error {
		var got []string
		for _, p := range r.iso.Problems() {
			got = append(got, p.Source.Name)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

// A route that Envoy refuses keeps its last good version; another changed at the same moment is in force.
func TestRealEnvoyRefusesEdit(t *testing.T) {
	r := startReal(t)
	r.edit(nil)
	r.envoy.WaitReady()
	r.answers(2, "/fine-002", 200)
	r.answers(3, "/fine-003", 200)
	testmesh.Eventually(t, 5*time.Second, "the first state is accepted", func() error {
		r.iso.mu.Lock()
		defer r.iso.mu.Unlock()
		if r.iso.m.phase != idle {
			return fmt.Errorf("phase %d", r.iso.m.phase)
		}
		return nil
	})
	r.edit(map[int]string{2: huge("two"), 3: "/new-003"})
	r.answers(3, "/new-003", 200)
	r.names("route-002")
	r.answers(2, "/fine-002", 200)
	if n := r.envoy.Nacks(); len(n) == 0 || n[0].Type != resource.RouteType {
		t.Errorf("Envoy refused nothing: %v", n)
	} else {
		t.Logf("%d refusals, the first: %.200s", len(n), n[0].Message)
	}
	r.edit(map[int]string{2: "/mended-002"})
	r.answers(2, "/mended-002", 200)
	r.names()
}

// Refused from the beginning, a route fails closed and the others are served.
func TestRealEnvoyRefusesAtStart(t *testing.T) {
	r := startReal(t)
	r.edit(map[int]string{1: huge("one"), 6: huge("six")})
	r.names("route-001", "route-006")
	r.answers(0, "/fine-000", 200)
	r.answers(7, "/fine-007", 200)
	r.answers(1, "/anything", 500)
	r.answers(6, "/anything", 500)
	r.answers(0, "/else", 404)
}
