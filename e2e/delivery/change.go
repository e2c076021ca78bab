package delivery

import (
	"fmt"
	"strings"
)

// A change is the state of the mesh after one step. Each has a number, which answers carry as a header where the
// waypoint is passed, so that one sees from outside when it is in force.
type change struct {
	number int
	what   string
	// weight of v2, of 100.
	weight int
	// more are objects beside the route, as YAML.
	more string
	// extra is a service that takes part of the requests; it is there from the step before to the step after.
	extra string
	// outside: the service uses no waypoint, so the number is not seen.
	outside bool
}

// turns are what a round of changes consists of, but for the weights, which change with every step.
var turns = []struct {
	what string
	more string
}{
	{"weights", ""},
	{"an ALLOW policy comes", allow},
	{"a DENY policy comes beside it", allow + deny},
	{"the policies go", ""},
	{"a fault for nobody comes", fault},
	{"the fault changes", strings.ReplaceAll(fault, "503", "504")},
	{"a service comes with its route", ""},
	{"the service goes after its route", ""},
	{"the service leaves its waypoint", ""},
	{"the service is back at its waypoint", ""},
}

func nth(n int) change {
	turn := turns[n%len(turns)]
	c := change{number: n, what: turn.what, weight: n * 10 % 110, more: turn.more}
	switch n % len(turns) {
	case 6:
		c.extra = fmt.Sprintf("cart-x%d", n)
	case 8:
		c.outside = true
	}
	return c
}

const allow = `---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  rules:
    - from: [{source: {serviceAccounts: [frontend]}}]
      to: [{operation: {methods: [GET, POST]}}]
`

const deny = `---
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: shop}
spec:
  action: DENY
  targetRefs: [{kind: Service, name: cart}]
  rules: [{to: [{operation: {paths: [/admin*]}}]}]
`

const fault = `---
apiVersion: weft.dev/v1alpha1
kind: Fault
metadata: {name: nobody, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  rules: [{matches: [{headers: {x-user: nobody}}], abort: {percentage: 100, httpStatus: 503}}]
`

// route divides the requests as a canary's controller patches it.
func (c change) route() string {
	extra := ""
	if c.extra != "" {
		extra = fmt.Sprintf("\n        - {name: %s, port: 80, weight: 20}", c.extra)
	}
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart, port: 80}]
  rules:
    - filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-change, value: "%d"}]}}]
      backendRefs:
        - {name: cart-v1, port: 80, weight: %d}
        - {name: cart-v2, port: 80, weight: %d}%s
%s`, c.number, 100-c.weight, c.weight, extra, c.more)
}

// service is the extra service.
func (c change) service() string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %s, namespace: shop}
spec:
  selector: {app: cart, version: v1}
  ports: [{name: http, port: 80, targetPort: http, appProtocol: http}]
`, c.extra)
}
