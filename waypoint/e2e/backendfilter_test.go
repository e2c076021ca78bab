package e2e

import (
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// An HTTPFilter of headers named at a backend acts on its share of requests alone; one that cannot act there leaves
// the other shares as they are.
func TestBackendFilters(t *testing.T) {
	m := withV2(t)
	marked := backend(keyV2, 1)
	marked.Filters = []model.HTTPFilter{{Name: "shop/who", Headers: &model.HeaderFilter{
		Request:  model.HeaderChange{Set: []model.Header{{Name: "X-Caller", Value: "${caller.serviceAccount}"}}, Remove: []string{"X-Secret"}},
		Response: model.HeaderChange{Set: []model.Header{{Name: "X-Result", Value: "${response.code}"}}},
	}}}
	broken := backend(key, 1)
	broken.Invalid = "HTTPFilter shop/zip is not one of headers"
	m.route("shares", model.RouteRule{Backends: []model.Backend{backend(key, 1), marked, broken}})
	m.publish()
	m.statusIs(500, m.http, "GET", "/")
	seen := map[string]int{}
	for range 150 {
		code, e, h, err := ask(m.http, "GET", "/", "X-Secret", "s")
		if err != nil {
			t.Fatal(err)
		}
		if code == 500 {
			seen["broken"]++
			continue
		}
		seen[e.Pod]++
		wantCaller, wantSecret, wantResult := "", "s", ""
		if e.Pod == "cart-v2-11" {
			wantCaller, wantSecret, wantResult = "frontend", "", "200"
		}
		if e.Headers.Get("X-Caller") != wantCaller || e.Headers.Get("X-Secret") != wantSecret || h.Get("X-Result") != wantResult {
			t.Fatalf("%s saw %v, answered %v", e.Pod, e.Headers, h)
		}
	}
	for _, share := range []string{"cart-10", "cart-v2-11", "broken"} {
		if seen[share] < 20 {
			t.Errorf("a third of 150 requests each: %v", seen)
		}
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("refusals: %v", n)
	}
}
