package e2e

import (
	"strings"
	"testing"
)

// What is wrong with one service's manifests is that service's affair. Each service below has one thing
// wrong, payments has none.
const badManifests = `
apiVersion: v1
kind: Service
metadata: {name: lonely, namespace: shop}
spec: {clusterIP: 10.96.1.1, selector: {app: nobody}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: routed, namespace: shop}
spec: {clusterIP: 10.96.1.2, selector: {app: frontend}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: missing, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: routed, port: 80}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /missing}}]
    backendRefs: [{name: nowhere, port: 80}]
  - backendRefs: [{name: routed, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: huge, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: huge, port: 80}]
  rules:
  - matches: [{path: {type: RegularExpression, value: "HUGE"}}]
    backendRefs: [{name: huge, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: huge, namespace: shop}
spec: {clusterIP: 10.96.1.7, selector: {app: frontend}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: cidr, namespace: shop}
spec: {clusterIP: 10.96.1.3, selector: {app: frontend}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: cidr, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: cidr}]
  rules: [{from: [{source: {ipBlocks: [10.0.0.300/8]}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: principal, namespace: shop}
spec: {clusterIP: 10.96.1.4, selector: {app: frontend}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: principal, namespace: shop}
spec:
  action: DENY
  targetRefs: [{group: "", kind: Service, name: principal}]
  rules: [{from: [{source: {principals: ["spiffe://cluster.local/ns/shop/sa/nobody"]}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: port, namespace: shop}
spec: {clusterIP: 10.96.1.5, selector: {app: frontend}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: port, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: port}]
  rules: [{to: [{operation: {ports: [http]}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: unread, namespace: shop}
spec: {clusterIP: 10.96.1.6, selector: {app: frontend}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: unread, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: unread}]
  rulez: []
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: wp, namespace: shop}
spec: {gatewayClassName: weft-waypoint, listeners: [{name: other, port: 15008, protocol: HBONE}]}
---
kind: [not, a, kind
---
apiVersion: v1
kind: Servise
metadata: {name: x, namespace: shop}
`

func TestBadManifestsStayAmongThemselves(t *testing.T) {
	w := newShop(t, onlyCart)
	w.withWaypoint()
	w.write("zz-bad", strings.ReplaceAll(badManifests, "HUGE", "/x"+strings.Repeat("(abcdefghij|klmnopqrst){100}", 12)))
	_, statuses := w.apply()
	for _, c := range []struct{ what, dst, path, want string }{
		{"the healthy neighbour", "10.96.0.1:80", "/", "200 payments-1"},
		{"a service without endpoints", "10.96.1.1:80", "/", "503 "},
		{"a route to a missing backend", "10.96.1.2:80", "/missing", "500 "},
		{"a route beside the broken ones", "10.96.1.2:80", "/fine", "200 frontend-1"},
		{"a route that only Envoy finds fault with", "10.96.1.7:80", "/", "500 "},
		{"an invalid CIDR in an ALLOW policy", "10.96.1.3:80", "/", "403 "},
		{"an invalid principal in a DENY policy", "10.96.1.4:80", "/", "403 "},
		{"an invalid port in an ALLOW policy", "10.96.1.5:80", "/", "403 "},
		{"a policy that cannot be read", "10.96.1.6:80", "/", "403 "},
	} {
		w.becomes(c.what, outcome(c.want), func() outcome { return outcome(w.answer("shop/cart-1", c.dst, c.path)) })
	}
	named := false
	for _, p := range w.iso.Problems() {
		named = named || p.Source.Kind == "HTTPRoute" && p.Source.Name == "huge"
	}
	if !named {
		t.Errorf("nobody says which route Envoy refuses: %v", w.iso.Problems())
	}
	for _, name := range []string{"cidr", "principal", "port", "unread"} {
		found := false
		for _, s := range statuses {
			if cond := s.Condition("Accepted"); s.Kind == "AuthorizationPolicy" && s.Name == name && cond != nil {
				found = cond.Status == "False" && cond.Message != ""
			}
		}
		if !found {
			t.Errorf("no status says what is wrong with policy %s", name)
		}
	}
}
