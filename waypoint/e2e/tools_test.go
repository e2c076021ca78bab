package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/pkg/controller"
)

// toolsShop has what a tool of progressive delivery finds or makes: a service that callers know, and one for each
// version.
const toolsShop = `
apiVersion: v1
kind: Service
metadata: {name: podinfo, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: one}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: podinfo-primary, namespace: shop}
spec: {clusterIP: 10.96.0.2, selector: {app: one}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: podinfo-canary, namespace: shop}
spec: {clusterIP: 10.96.0.3, selector: {app: two}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// delivery is a world in which frontend calls podinfo all the time while a tool changes its route.
type delivery struct {
	*world
	failed, calls atomic.Int64
	end           func()
}

func startDelivery(t *testing.T) *delivery {
	t.Helper()
	d := &delivery{world: newWorld(t)}
	d.write("shop", toolsShop)
	d.write("pods", podManifest("shop", "one", "one", "one", "10.1.0.1")+podManifest("shop", "two", "two", "two", "10.1.0.2")+podManifest("shop", "frontend-1", "frontend", "frontend", "10.1.0.3"))
	d.withWaypoint()
	d.apply()
	d.becomes("a call", passed, func() outcome { return d.request("shop/frontend-1", vip, "GET") })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range 3 {
		hc := d.client()
		wg.Go(func() {
			for ctx.Err() == nil {
				d.calls.Add(1)
				if code, _, _, err := ask(hc, "GET", "/"); err != nil || code != http.StatusOK {
					if d.failed.Add(1) < 4 {
						t.Errorf("a call failed: %d %v", code, err)
					}
				}
			}
		})
	}
	d.end = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		t.Logf("%d calls, %d failed", d.calls.Load(), d.failed.Load())
	})
	t.Cleanup(d.end)
	return d
}

// client is an application's in frontend's pod.
func (d *delivery) client() *http.Client {
	tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return d.dial("shop/frontend-1", vip) }}
	d.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// route is what the tool writes; it must be accepted with all that it refers to.
func (d *delivery) route(rules string) {
	d.t.Helper()
	d.write("route", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: podinfo, namespace: shop, labels: {rollouts.argoproj.io/gatewayapi-canary: in-progress}}
spec:
  parentRefs: [{group: "", kind: Service, name: podinfo, port: 80}]
  rules:
`+rules)
	_, statuses := d.apply()
	for _, s := range statuses {
		if s.Kind == "HTTPRoute" {
			d.mustHold(s)
		}
	}
}

func (d *delivery) mustHold(s controller.Status) {
	d.t.Helper()
	for _, p := range s.Parents {
		for _, c := range p.Conditions {
			if c.Status != "True" {
				d.t.Errorf("%s=%s: %s", c.Type, c.Status, c.Message)
			}
		}
	}
	if len(s.Parents) == 0 {
		d.t.Error("the route has no status")
	}
}

// shares waits until of 40 calls so many percent go to the canary, give or take 30 but for none and all.
func (d *delivery) shares(percent int, header ...string) {
	d.t.Helper()
	hc := d.client()
	var got string
	d.becomes(fmt.Sprintf("a share of %d %%", percent), "right", func() outcome {
		canary := 0
		for range 40 {
			code, e, _, err := ask(hc, "GET", "/", header...)
			if err != nil || code != http.StatusOK {
				return outcome(fmt.Sprintf("%d %v", code, err))
			}
			if e.Pod == "two" {
				canary++
			}
		}
		got = fmt.Sprintf("%d of 40", canary)
		low, high := max(0, percent-30)*40/100, min(100, percent+30)*40/100
		if percent == 0 {
			high = 0
		}
		if percent == 100 {
			low = 40
		}
		if canary < low || canary > high {
			return outcome(got)
		}
		return "right"
	})
}

const (
	toCanary  = "{group: \"\", kind: Service, name: podinfo-canary, port: 80, weight: %d}"
	toPrimary = "{group: \"\", kind: Service, name: podinfo-primary, port: 80, weight: %d}"
)

func weighted(canary int) string {
	return fmt.Sprintf("  - matches: [{path: {type: PathPrefix, value: /}}]\n    backendRefs: ["+toPrimary+", "+toCanary+"]\n", 100-canary, canary)
}

// Flagger makes a route of its own, with the service that callers know as its parent, and writes the whole of it at
// each step: weights, for A/B tests two rules, for session affinity a cookie that the canary's answers set.
func TestFlaggersWay(t *testing.T) {
	d := startDelivery(t)
	for _, canary := range []int{0, 10, 50, 100, 0} {
		d.route(weighted(canary))
		d.shares(canary)
	}
	d.route(`  - matches: [{path: {type: PathPrefix, value: /}, headers: [{name: x-canary, type: Exact, value: insider}]}]
    backendRefs: [` + fmt.Sprintf(toPrimary+", "+toCanary, 0, 100) + `]
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs: [` + fmt.Sprintf(toPrimary, 100) + `]
`)
	d.shares(100, "X-Canary", "insider")
	d.shares(0)
	sticky := func(canary int) string {
		return `  - matches: [{headers: [{name: Cookie, type: RegularExpression, value: ".*flagger-cookie.*abc.*"}]}]
    backendRefs: [` + fmt.Sprintf(toPrimary+", "+toCanary, 0, 100) + `]
  - matches: [{path: {type: PathPrefix, value: /}}]
    backendRefs:
    - ` + fmt.Sprintf(toPrimary, 100-canary) + `
    - group: ""
      kind: Service
      name: podinfo-canary
      port: 80
      weight: ` + fmt.Sprint(canary) + `
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: Set-Cookie, value: "flagger-cookie=abc; Max-Age=86400"}]}}]
`
	}
	d.route(sticky(50))
	d.shares(50)
	d.shares(100, "Cookie", "a=b; flagger-cookie=abc")
	_, e, h, err := ask(d.client(), "GET", "/")
	if err != nil || strings.HasPrefix(h.Get("Set-Cookie"), "flagger-cookie=abc") != (e.Pod == "two") {
		t.Errorf("%s answers with cookie %q, %v", e.Pod, h.Get("Set-Cookie"), err)
	}
	d.route(weighted(0))
	d.shares(0)
	d.write("route", "") // Flagger is gone, with all that it owned
	d.apply()
	d.shares(0)
	d.end()
}

// Argo Rollouts' plugin changes the weights in a route that people made, and for a header adds a rule at its end, with a
// backend that has no weight, which it takes away by its place.
func TestArgosWay(t *testing.T) {
	d := startDelivery(t)
	d.route(weighted(0))
	d.shares(0)
	byHeader := `  - matches: [{path: {type: PathPrefix, value: /}, headers: [{name: x-group, type: RegularExpression, value: "beta.*"}]}]
    filters: []
    backendRefs: [{group: "", kind: Service, name: podinfo-canary, port: 80}]
`
	d.route(weighted(0) + byHeader)
	d.shares(100, "X-Group", "beta-7")
	d.shares(0)
	for _, canary := range []int{20, 60} {
		d.route(weighted(canary) + byHeader)
		d.shares(canary)
		d.shares(100, "X-Group", "beta-7")
	}
	d.route(weighted(60))
	d.shares(60, "X-Group", "beta-7")
	d.route(weighted(100))
	d.shares(100)
	// Promoted: the services change their selectors, then the weights are as in the beginning.
	d.write("shop", strings.NewReplacer("{app: one}", "{app: two}", "{app: two}", "{app: one}").Replace(toolsShop))
	d.apply()
	d.route(weighted(0))
	d.shares(100) // the new version is the stable one
	d.end()
}
