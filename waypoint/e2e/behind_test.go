package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// The shop: cart and frontend call payments, by HTTP on 80 and TCP on 9000. With a gateway's manifest and
// the label a waypoint stands before it.
const shopManifests = `
apiVersion: v1
kind: Service
metadata: {name: payments, namespace: shop}
spec: {clusterIP: 10.96.0.1, selector: {app: payments}, ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: infra, namespace: infra}
spec: {clusterIP: 10.96.0.7, selector: {app: infra}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: weft.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`

const gatewayManifests = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
---
apiVersion: v1
kind: Service
metadata: {name: wp, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: wp}}
spec: {clusterIP: 10.96.0.9, selector: {gateway.networking.k8s.io/gateway-name: wp}, ports: [{name: hbone, port: 15008}]}
---
apiVersion: v1
kind: Pod
metadata: {name: wp-1, namespace: shop, labels: {gateway.networking.k8s.io/gateway-name: wp, weft.dev/dataplane-mode: none}}
spec: {serviceAccountName: wp, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: ` + worldWaypoint + `, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: other, namespace: infra}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}]}
`

func namespaceManifest(name, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {weft.dev/dataplane-mode: ambient%s}}\n---\n", name, more)
}

func podManifest(namespace, name, app, account, ip string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s, labels: {app: %s}, annotations: {weft.dev/redirection: enabled}}
spec: {serviceAccountName: %s, nodeName: n1, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: %s, conditions: [{type: Ready, status: "True"}]}
---
`, name, namespace, app, account, ip)
}

func newShop(t *testing.T, policy string) *world {
	t.Helper()
	return newWorld(t).withShop(policy)
}

func (w *world) withShop(policy string) *world {
	w.write("shop", shopManifests)
	w.write("pods", podManifest("shop", "payments-1", "payments", "payments", "10.1.0.1")+
		podManifest("shop", "cart-1", "cart", "cart", "10.1.0.2")+podManifest("shop", "frontend-1", "frontend", "frontend", "10.1.0.3")+
		// Runs under the name that the other namespace's waypoint has.
		podManifest("infra", "infra-1", "infra", "other", "10.1.0.4"))
	w.write("namespaces", namespaceManifest("shop", "")+namespaceManifest("infra", ""))
	if policy != "" {
		w.write("policy", policy)
	}
	return w
}

// withWaypoint labels the namespace.
func (w *world) withWaypoint() {
	w.write("gateway", gatewayManifests)
	w.write("namespaces", namespaceManifest("shop", ", weft.dev/use-waypoint: wp")+namespaceManifest("infra", ""))
}

// outcome of one call: what a person would say of it.
type outcome string

const (
	passed  outcome = "passed"
	denied  outcome = "denied"
	nothing outcome = ""
)

// request calls an HTTP port. Both a reset and a 403 are a refusal; anything else is not judged yet.
func (w *world) request(pod, dst, method string) outcome {
	c, err := w.dial(pod, dst)
	if err != nil {
		return nothing
	}
	defer c.Close()
	return roundTrip(c, method)
}

func roundTrip(c net.Conn, method string) outcome {
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	req, _ := http.NewRequestWithContext(context.Background(), method, "http://payments/", nil)
	if err := req.Write(c); err != nil {
		return denied
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return denied
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	switch res.StatusCode {
	case 200:
		return passed
	case 403:
		return denied
	}
	return outcome(res.Status)
}

// line reads the first line of a server that speaks first.
func (w *world) line(pod, dst string) outcome {
	c, err := w.dial(pod, dst)
	if err != nil {
		return nothing
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if s, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.HasPrefix(s, "220 ") {
		return denied
	}
	return passed
}

// becomes waits until a call ends as it should: configuration needs a moment to arrive at Envoy.
func (w *world) becomes(what string, want outcome, call func() outcome) {
	w.t.Helper()
	testmesh.Eventually(w.t, 15*time.Second, what+" is "+string(want), func() error {
		if got := call(); got != want {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}

const onlyCart = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: payments, namespace: shop}
spec:
  selector: {matchLabels: {app: payments}}
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}], to: [{operation: {ports: ["8080", "9000"]}}]}]
`

// The pitfall of ambient meshes: a policy for a workload holds, and means the same, when a waypoint comes
// and when it goes.
func TestPolicyMeansTheSameBehindAWaypoint(t *testing.T) {
	w := newShop(t, onlyCart)
	check := func(stage string) {
		t.Helper()
		for _, c := range []struct {
			what string
			want outcome
			call func() outcome
		}{
			{"cart → payments", passed, func() outcome { return w.request("shop/cart-1", "10.96.0.1:80", "GET") }},
			{"frontend → payments", denied, func() outcome { return w.request("shop/frontend-1", "10.96.0.1:80", "GET") }},
			{"cart → payments by TCP", passed, func() outcome { return w.line("shop/cart-1", "10.96.0.1:9000") }},
			{"frontend → payments by TCP", denied, func() outcome { return w.line("shop/frontend-1", "10.96.0.1:9000") }},
			{"cart → the pod itself", passed, func() outcome { return w.request("shop/cart-1", "10.1.0.1:8080", "GET") }},
			{"frontend → the pod itself", denied, func() outcome { return w.request("shop/frontend-1", "10.1.0.1:8080", "GET") }},
			{"another namespace's waypoint → the pod itself", denied, func() outcome { return w.request("infra/infra-1", "10.1.0.1:8080", "GET") }},
			{"another namespace's waypoint → payments", denied, func() outcome { return w.request("infra/infra-1", "10.96.0.1:80", "GET") }},
			{"clear text → the pod itself", denied, func() outcome {
				c, err := w.bare("10.1.0.2", "shop/payments-1", 8080)
				if err != nil {
					return nothing
				}
				defer c.Close()
				return roundTrip(c, "GET")
			}},
		} {
			w.becomes(stage+": "+c.what, c.want, c.call)
		}
	}
	w.apply()
	check("without a waypoint")
	w.withWaypoint()
	w.apply()
	check("with a waypoint")
	if got := w.envoyCalls(); got == 0 {
		t.Error("Envoy saw no call: the test did not pass the waypoint")
	}
	w.write("gateway", "")
	w.write("namespaces", namespaceManifest("shop", "")+namespaceManifest("infra", ""))
	w.apply()
	check("without a waypoint again")
}

// envoyCalls counts CONNECTs that Envoy has taken.
func (w *world) envoyCalls() int {
	_, stats := w.envoy.Admin("GET", "/stats?filter=^http.hbone.downstream_rq_total$")
	n := 0
	_, _ = fmt.Sscanf(stats, "http.hbone.downstream_rq_total: %d", &n)
	return n
}

const denyFrontend = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: not-frontend, namespace: shop}
spec:
  action: DENY
  rules:
  - from: [{source: {serviceAccounts: [frontend]}}]
  - from: [{source: {notNamespaces: [shop]}}]
  - from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/cart, cluster.local/ns/shop/sa/payments]}}]
`

// A DENY policy of the namespace is not lost behind a waypoint, and does not refuse the waypoint itself.
func TestDenyBehindAWaypoint(t *testing.T) {
	w := newShop(t, denyFrontend)
	w.withWaypoint()
	w.apply()
	w.becomes("cart → payments", passed, func() outcome { return w.request("shop/cart-1", "10.96.0.1:80", "GET") })
	w.becomes("frontend → payments", denied, func() outcome { return w.request("shop/frontend-1", "10.96.0.1:80", "GET") })
	w.becomes("frontend → payments by TCP", denied, func() outcome { return w.line("shop/frontend-1", "10.96.0.1:9000") })
	w.becomes("infra → payments", denied, func() outcome { return w.request("infra/infra-1", "10.96.0.1:80", "GET") })
	w.becomes("frontend → the pod itself", denied, func() outcome { return w.request("shop/frontend-1", "10.1.0.1:8080", "GET") })
	w.becomes("cart → the pod itself", passed, func() outcome { return w.request("shop/cart-1", "10.1.0.1:8080", "GET") })
}

const onlyGET = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: reads, namespace: shop}
spec:
  selector: {matchLabels: {app: payments}}
  rules: [{from: [{source: {namespaces: [shop]}}], to: [{operation: {methods: [GET], ports: ["8080"]}}]}]
`

// A policy that asks about requests refuses without a waypoint, and is evaluated at one.
func TestRequestsInAWorkloadsPolicy(t *testing.T) {
	w := newShop(t, onlyGET)
	w.apply()
	w.becomes("without a waypoint", denied, func() outcome { return w.request("shop/cart-1", "10.96.0.1:80", "GET") })
	w.withWaypoint()
	w.apply()
	w.becomes("GET", passed, func() outcome { return w.request("shop/cart-1", "10.96.0.1:80", "GET") })
	w.becomes("POST", denied, func() outcome { return w.request("shop/cart-1", "10.96.0.1:80", "POST") })
	w.becomes("GET from another namespace", denied, func() outcome { return w.request("infra/infra-1", "10.96.0.1:80", "GET") })
	w.becomes("GET of the pod itself", denied, func() outcome { return w.request("shop/cart-1", "10.1.0.1:8080", "GET") })
	w.becomes("TCP", denied, func() outcome { return w.line("shop/cart-1", "10.96.0.1:9000") })
}

// A policy that names the waypoint is about whoever calls through it: the custom by which a workload takes
// calls from its waypoint alone.
func TestPolicyThatNamesTheWaypoint(t *testing.T) {
	w := newShop(t, strings.ReplaceAll(onlyCart, "sa/cart", "sa/wp"))
	w.withWaypoint()
	w.apply()
	w.becomes("frontend → payments", passed, func() outcome { return w.request("shop/frontend-1", "10.96.0.1:80", "GET") })
	w.becomes("frontend → the pod itself", denied, func() outcome { return w.request("shop/frontend-1", "10.1.0.1:8080", "GET") })
}

// A Service names a waypoint that is not there: nothing goes past it.
func TestMissingWaypointRefuses(t *testing.T) {
	w := newShop(t, onlyCart)
	w.write("namespaces", namespaceManifest("shop", ", weft.dev/use-waypoint: gone")+namespaceManifest("infra", ""))
	w.apply()
	if got := w.request("shop/cart-1", "10.96.0.1:80", "GET"); got != denied {
		t.Errorf("the call %s", got)
	}
}
