package e2e

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// A rule for some callers takes their requests and nobody else's, whatever headers say and wherever it stands.
func TestCanaryByIdentity(t *testing.T) {
	m := withV2By(t, oneWorker)
	const third = "spiffe://cluster.local/ns/shop/sa/third"
	testers := model.HTTPFilter{Name: "shop/testers", Callers: []model.CallerMatch{
		{ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "third"}}},
		{Namespaces: []string{"other"}},
		{Namespaces: []string{"elsewhere"}, ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "frontend"}}},
	}}
	r := m.route("cart",
		model.RouteRule{Backends: []model.Backend{backend(key, 1)}},
		model.RouteRule{Filters: []model.HTTPFilter{testers}, Backends: []model.Backend{backend(keyV2, 1)}},
		model.RouteRule{Matches: path(model.PathPrefix, "/only"), Filters: []model.HTTPFilter{testers}, Invalid: "made to fail"})
	if p := m.publish(); len(p) > 0 {
		t.Fatal(p)
	}
	chosen, chosenByNamespace := m.caller(third).HTTP(t, vip), m.caller(other).HTTP(t, vip)
	m.statusIs(500, chosen, "GET", "/only")
	v1 := podOf(t, m.http, "GET", "/")
	v2 := podOf(t, chosen, "GET", "/")
	if v1 == v2 || v2 != podOf(t, chosenByNamespace, "GET", "/") {
		t.Errorf("the canary %s, others %s, of namespace other %s", v2, v1, podOf(t, chosenByNamespace, "GET", "/"))
	}
	for _, h := range []string{"X-Forwarded-Client-Cert", "X-Weft-Peer", "X-Weft-Dst", "Forwarded", "Baggage"} {
		for _, value := range []string{third, "By=" + waypoint + ";URI=" + third, `for="10.1.0.9:1";by=` + third} {
			if h == "X-Weft-Dst" {
				value = vip
			}
			if got := podOf(t, m.http, "GET", "/", h, value); got != v1 {
				t.Errorf("with %s: %s, somebody else was answered by %s, not %s", h, value, got, v1)
			}
			if got := podOf(t, chosen, "GET", "/", h, frontend); got != v2 {
				t.Errorf("with %s: %s, a tester was answered by %s, not %s", h, frontend, got, v2)
			}
		}
	}
	if got := podOf(t, m.http, "GET", "/only"); got != v1 {
		t.Errorf("a rule that cannot be served answered a caller that it is not for: %s", got)
	}
	r.Rules = r.Rules[:1]
	m.publish()
	m.eventually("testers are back", func() error {
		if got := podOf(t, chosen, "GET", "/"); got != v1 {
			return fmt.Errorf("answered by %s", got)
		}
		return nil
	})
}
