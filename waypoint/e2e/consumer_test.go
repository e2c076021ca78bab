package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Routes of namespace infra for shop/payments: /mine goes to infra's own service, and /shared to payments
// where its namespace permits it, which it does not for /closed.
const consumerRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: mine, namespace: infra}
spec:
  parentRefs: [{group: "", kind: Service, name: payments, namespace: shop, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /mine}}]
    backendRefs: [{name: infra, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /closed}}]
    backendRefs: [{name: secrets, namespace: shop, port: 80}]
  - matches: [{path: {type: PathPrefix, value: /shared}}]
    backendRefs: [{name: payments, namespace: shop, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: infra, namespace: shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: infra}]
  to: [{group: "", kind: Service, name: payments}]
---
apiVersion: v1
kind: Service
metadata: {name: secrets, namespace: shop}
spec: {clusterIP: 10.96.0.8, selector: {app: payments}, ports: [{name: http, port: 80, targetPort: 8080}]}
`

// answer is the status of a request, and which pod answered.
func (w *world) answer(pod, dst, path string) string {
	c, err := w.dial(pod, dst)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	req, _ := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://payments"+path, nil)
	if err := req.Write(c); err != nil {
		return err.Error()
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	return fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("X-Pod"))
}

// A route of a consumer's namespace acts on that namespace's callers and on nobody else.
func TestConsumerRouteFromManifests(t *testing.T) {
	w := newShop(t, "---\n")
	w.withWaypoint()
	w.write("routes", consumerRoute)
	_, statuses := w.apply()
	const payments = "10.96.0.1:80"
	for _, c := range []struct{ what, pod, path, want string }{
		{"the consumer by its own route", "infra/infra-1", "/mine", "200 infra-1"},
		{"the consumer by its own route, to the service", "infra/infra-1", "/shared/x", "200 payments-1"},
		{"the consumer to what was not granted", "infra/infra-1", "/closed", "500 "},
		{"the consumer beside its route", "infra/infra-1", "/else", "404 "},
		{"another caller", "shop/cart-1", "/mine", "200 payments-1"},
		{"another caller elsewhere", "shop/cart-1", "/else", "200 payments-1"},
	} {
		w.becomes(c.what, outcome(c.want), func() outcome { return outcome(w.answer(c.pod, payments, c.path)) })
	}
	for _, s := range statuses {
		if s.Kind != "HTTPRoute" || len(s.Parents) != 1 {
			continue
		}
		for _, cond := range s.Parents[0].Conditions {
			if cond.Type == "Accepted" && cond.Status == "True" {
				return
			}
		}
	}
	t.Errorf("the route is not accepted: %+v", statuses)
}
