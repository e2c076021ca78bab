package e2e

import (
	"fmt"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

const keyV2 = "shop/cart-v2.shop.svc.cluster.local"

// withV2 adds a service cart-v2 with a pod of its own.
func withV2(t *testing.T) *mesh { return withV2By(t, nil) }

func withV2By(t *testing.T, setup func(*testmesh.Envoy)) *mesh {
	m := newMeshWith(t, setup)
	m.service("cart-v2", "10.96.0.2")
	m.pod("cart-v2", pods)
	return m
}

func (m *mesh) route(name string, rules ...model.RouteRule) *model.Route {
	r := &model.Route{Namespace: "shop", Name: name, Kind: "HTTPRoute", Service: key, Port: 80, Rules: rules}
	m.snap.Routes[r.Key()] = r
	return r
}

func backend(service string, weight uint32) model.Backend {
	return model.Backend{Service: service, Port: 80, Weight: weight}
}

func ptr[T any](v T) *T { return &v }

func path(kind model.MatchPath, p string) []model.RouteMatch {
	return []model.RouteMatch{{PathKind: kind, Path: p}}
}

// podOf asks and says which service's pod answered.
func podOf(t *testing.T, c *http.Client, method, p string, header ...string) string {
	t.Helper()
	code, e, _, err := ask(c, method, p, header...)
	if err != nil {
		t.Fatal(err)
	}
	if code != 200 {
		return fmt.Sprint(code)
	}
	return e.Pod
}

func TestWeights(t *testing.T) {
	m := withV2(t)
	m.route("split", model.RouteRule{Backends: []model.Backend{backend(key, 90), backend(keyV2, 10)}},
		model.RouteRule{Matches: path(model.PathPrefix, "/half"), Backends: []model.Backend{backend(key, 50), backend("shop/gone.shop.svc.cluster.local", 50)}},
		model.RouteRule{Matches: path(model.PathPrefix, "/missing"), Backends: []model.Backend{backend("shop/gone.shop.svc.cluster.local", 1)}})
	m.publish()
	m.statusIs(500, m.http, "GET", "/missing")
	count := map[string]int{}
	for range 1000 {
		count[podOf(t, m.http, "GET", "/")[:6]]++
		count["half "+podOf(t, m.http, "GET", "/half")]++
	}
	pods := map[string]int{}
	for range 1000 {
		pods[podOf(t, m.http, "GET", "/")]++
	}
	if v2 := pods["cart-v2-11"]; v2 < 60 || v2 > 145 || v2+pods["cart-10"] != 1000 {
		t.Errorf("90/10 of 1000 requests: %v", pods)
	}
	if n := count["half 500"]; math.Abs(float64(n)-500) > 80 {
		t.Errorf("half of 1000 requests to a missing backend are answered 500: %v", count)
	}
}

func TestMatches(t *testing.T) {
	m := withV2(t)
	v1, v2 := []model.Backend{backend(key, 1)}, []model.Backend{backend(keyV2, 1)}
	m.route("matches",
		model.RouteRule{Matches: path(model.PathPrefix, "/api"), Backends: v1},
		model.RouteRule{Matches: []model.RouteMatch{
			{Headers: []model.NameMatch{{Name: "X-Tester", Value: "yes"}}},
			{PathKind: model.PathExact, Path: "/exact"},
			{PathKind: model.PathRegex, Path: "/v[0-9]+/.*"},
			{PathKind: model.PathPrefix, Path: "/api", Method: "DELETE"},
			{PathKind: model.PathPrefix, Path: "/api", Query: []model.NameMatch{{Name: "beta", Value: "1"}}},
			{PathKind: model.PathPrefix, Path: "/api", Headers: []model.NameMatch{{Name: "X-Build", Value: "[0-9]+", Regex: true}}},
		}, Backends: v2})
	m.publish()
	m.statusIs(404, m.http, "GET", "/nothing")
	for _, tc := range []struct {
		want, method, path string
		header             []string
	}{
		{"cart-10", "GET", "/api", nil},
		{"cart-10", "GET", "/api/x", nil},
		{"404", "GET", "/apis", nil},
		{"cart-v2-11", "GET", "/anything", []string{"X-Tester", "yes"}},
		{"404", "GET", "/anything", []string{"X-Tester", "no"}},
		{"cart-10", "GET", "/api", []string{"X-Tester", "yes"}}, // the longer path wins
		{"cart-v2-11", "GET", "/exact", nil},
		{"404", "GET", "/exact/", nil},
		{"cart-v2-11", "GET", "/v12/x", nil},
		{"404", "GET", "/v/x", nil},
		{"cart-v2-11", "DELETE", "/api/x", nil},
		{"cart-v2-11", "GET", "/api/x?beta=1", nil},
		{"cart-10", "GET", "/api/x?beta=2", nil},
		{"cart-v2-11", "GET", "/api/x", []string{"X-Build", "17"}},
		{"cart-10", "GET", "/api/x", []string{"X-Build", "17a"}},
	} {
		if got := podOf(t, m.http, tc.method, tc.path, tc.header...); got != tc.want {
			t.Errorf("%s %s %v: %s, want %s", tc.method, tc.path, tc.header, got, tc.want)
		}
	}
}

func TestFilters(t *testing.T) {
	m := withV2(t)
	b := []model.Backend{backend(key, 1)}
	m.route("filters",
		model.RouteRule{Matches: path(model.PathPrefix, "/headers"), Backends: b,
			RequestHdr:  model.HeaderChange{Set: []model.Header{{Name: "X-Set", Value: "100%"}, {Name: "Host", Value: "other"}}, Add: []model.Header{{Name: "X-Add", Value: "2"}}, Remove: []string{"X-Gone"}},
			ResponseHdr: model.HeaderChange{Set: []model.Header{{Name: "X-Pod", Value: "hidden"}}, Add: []model.Header{{Name: "X-More", Value: "m"}}, Remove: []string{"Content-Type"}}},
		model.RouteRule{Matches: path(model.PathPrefix, "/redir"), Redirect: &model.Redirect{Scheme: "https", Host: "example.com", Code: 301, PrefixPath: ptr("/new")}},
		model.RouteRule{Matches: path(model.PathPrefix, "/strip"), Rewrite: &model.Rewrite{PrefixPath: ptr("/"), Host: "stripped"}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/swap"), Rewrite: &model.Rewrite{PrefixPath: ptr("/in")}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/full"), Rewrite: &model.Rewrite{FullPath: ptr("/the/one")}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/mirror"), Mirrors: []model.Backend{backend(keyV2, 100_000)}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/some"), Mirrors: []model.Backend{backend(keyV2, 30_000)}, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/each"), Backends: []model.Backend{{Service: key, Port: 80, Weight: 1,
			RequestHdr: model.HeaderChange{Set: []model.Header{{Name: "X-Share", Value: "one"}}}, ResponseHdr: model.HeaderChange{Set: []model.Header{{Name: "X-Share", Value: "two"}}}}}})
	m.publish()
	m.statusIs(404, m.http, "GET", "/nothing")
	e := m.statusIs(200, m.http, "GET", "/headers", "X-Gone", "1", "X-Add", "1", "X-Set", "old")
	if e.Host != "other" || e.Headers.Get("X-Set") != "100%" || e.Headers.Get("X-Gone") != "" || fmt.Sprint(e.Headers["X-Add"]) != "[1 2]" {
		t.Errorf("request headers: %+v", e)
	}
	_, _, h, err := ask(m.http, "GET", "/headers")
	if err != nil || h.Get("X-Pod") != "hidden" || h.Get("X-More") != "m" || h.Get("Content-Type") != "" {
		t.Errorf("response headers: %v %v", h, err)
	}
	code, _, h, err := ask(m.http, "GET", "/redir/a?b=c")
	if err != nil || code != 301 || h.Get("Location") != "https://example.com/new/a?b=c" {
		t.Errorf("redirect: %d %q %v", code, h.Get("Location"), err)
	}
	for in, want := range map[string]string{
		"/strip/a?b=c": "/a?b=c", "/strip": "/", "/strip/": "/", "/swap": "/in", "/swap/a/b": "/in/a/b", "/swap/?q": "/in/?q", "/full/x?y=z": "/the/one?y=z",
	} {
		if e := m.statusIs(200, m.http, "GET", in); e.Path != want {
			t.Errorf("%s arrives as %s, want %s", in, e.Path, want)
		}
	}
	if e := m.statusIs(200, m.http, "GET", "/strip/"); e.Host != "stripped" {
		t.Errorf("host is %q", e.Host)
	}
	_, e, h, err = ask(m.http, "GET", "/each")
	if err != nil || e.Headers.Get("X-Share") != "one" || h.Get("X-Share") != "two" {
		t.Errorf("per backend: %v %v %v", e.Headers, h, err)
	}
	before := m.mirrored()
	for range 10 {
		m.statusIs(200, m.http, "GET", "/mirror")
	}
	m.eventually("ten copies arrive", func() error {
		if n := m.mirrored() - before; n != 10 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	before = m.mirrored()
	for range 400 {
		m.statusIs(200, m.http, "GET", "/some")
	}
	m.eventually("three of ten are copied", func() error {
		if n := m.mirrored() - before; n < 65 || n > 175 { // six standard deviations from 120
			return fmt.Errorf("%d of 400", n)
		}
		return nil
	})
}

func TestTimeoutsAndRetries(t *testing.T) {
	m := newMesh(t)
	b := []model.Backend{backend(key, 1)}
	m.route("times",
		model.RouteRule{Matches: path(model.PathPrefix, "/abort"), Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/sleep"), Timeout: 200 * time.Millisecond, Backends: b},
		model.RouteRule{Matches: path(model.PathPrefix, "/flaky"), Retry: &model.Retry{Attempts: 2, Codes: []uint32{503}, Backoff: 5 * time.Millisecond}, Backends: b})
	m.publish()
	m.statusIs(404, m.http, "GET", "/nothing")
	m.statusIs(504, m.http, "GET", "/sleep/60000")
	m.statusIs(200, m.http, "GET", "/sleep/1")
	pod := m.podNamed("cart-10")
	pod.Flaky.Store(2)
	m.statusIs(200, m.http, "POST", "/flaky")
	pod.Flaky.Store(3)
	if code, _, _, err := ask(m.http, "POST", "/flaky"); err != nil || code != 503 {
		t.Errorf("three failures, two retries: %d %v", code, err)
	}
	// By default a reset is repeated only for methods that may be.
	tries := func(method string) int64 {
		before := pod.Requests.Load()
		_, _, _, _ = ask(m.http, method, "/abort")
		return pod.Requests.Load() - before
	}
	if n := tries("POST"); n != 1 {
		t.Errorf("POST was tried %d times", n)
	}
	if n := tries("GET"); n != 3 {
		t.Errorf("GET was tried %d times, want 3", n)
	}
}

func TestFaults(t *testing.T) {
	m := newMesh(t)
	m.snap.Faults["shop/f"] = &model.Fault{Namespace: "shop", Name: "f", Target: model.Target{Service: key}, Rules: []model.FaultRule{
		{Matches: []model.RouteMatch{{PathKind: model.PathPrefix, Path: "/pay", Headers: []model.NameMatch{{Name: "X-Chaos", Value: "yes"}}}}, AbortPercent: 100, AbortStatus: 418},
		{Matches: path(model.PathPrefix, "/some"), AbortPercent: 30, AbortStatus: 503},
		{Matches: path(model.PathExact, "/slow"), DelayPercent: 100, Delay: 300 * time.Millisecond},
		{Matches: path(model.PathRegex, "/g[r]pc"), AbortPercent: 100, AbortGRPC: ptr(uint32(14))},
	}}
	m.publish()
	m.statusIs(418, m.http, "GET", "/pay/now?x=1", "X-Chaos", "yes")
	m.statusIs(200, m.http, "GET", "/pay/now")
	m.statusIs(200, m.http, "GET", "/payment", "X-Chaos", "yes")
	aborted := 0
	for range 1000 {
		if code, _, _, err := ask(m.http, "GET", "/some"); err != nil {
			t.Fatal(err)
		} else if code == 503 {
			aborted++
		}
	}
	if aborted < 240 || aborted > 360 {
		t.Errorf("30 %% of 1000 requests: %d aborted", aborted)
	}
	start := time.Now()
	m.statusIs(200, m.http, "GET", "/slow?q=1")
	if d := time.Since(start); d < 290*time.Millisecond {
		t.Errorf("a delay of 300 ms took %v", d)
	}
	_, _, h, err := ask(m.http, "POST", "/grpc", "Content-Type", "application/grpc")
	if err != nil || h.Get("Grpc-Status") != "14" {
		t.Errorf("gRPC abort: %v %v", h, err)
	}
}

// A route of another namespace is for the callers of that namespace alone, and all there is for them.
func TestConsumerRoutes(t *testing.T) {
	m := withV2(t)
	r := m.route("consumer", model.RouteRule{Matches: path(model.PathPrefix, "/api"), Backends: []model.Backend{backend(keyV2, 1)}})
	delete(m.snap.Routes, r.Key())
	r.Namespace = "other"
	m.snap.Routes[r.Key()] = r
	m.publish()
	foreign := m.caller(other).HTTP(t, vip)
	m.statusIs(404, foreign, "GET", "/")
	m.statusIs(200, foreign, "GET", "/api")
	if got := podOf(t, foreign, "GET", "/api"); got != "cart-v2-11" {
		t.Errorf("the consumer's own route: %s", got)
	}
	for _, p := range []string{"/", "/api"} {
		if got := podOf(t, m.http, "GET", p); got != "cart-10" {
			t.Errorf("another caller's %s: %s", p, got)
		}
	}
	m.route("producer", model.RouteRule{Matches: path(model.PathPrefix, "/only"), Backends: []model.Backend{backend(key, 1)}})
	m.publish()
	m.statusIs(404, m.http, "GET", "/")
	if got := podOf(t, m.http, "GET", "/only"); got != "cart-10" {
		t.Errorf("the producer's route: %s", got)
	}
	if got := podOf(t, foreign, "GET", "/only"); got != "404" {
		t.Errorf("the producer's route for a consumer with its own: %s", got)
	}
}
