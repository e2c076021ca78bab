package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// behindWaypoint puts a namespace behind a waypoint of its own.
const behindWaypoint = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: %s}
spec:
  gatewayClassName: weft-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`

// patched adds a header to the answers of a Service, with a value that Envoy may know or not.
const patched = `
apiVersion: weft.dev/v1alpha1
kind: EnvoyPatch
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  targetRefs: [{kind: Service, name: %[2]s}]
  patches:
  - type: RouteConfiguration
    operations:
    - {op: add, path: /virtual_hosts/0/response_headers_to_add/0, value: {header: {key: x-patched, value: "%[3]s"}}}
`

// In a pod as the chart and the controller make them, patches are tried by an Envoy of their own: a good one comes into
// force, at a bad one Envoy's words are in its status, and the waypoint serves on.
func TestPatchesAreTried(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	ns := namespace(t, e, "e2e-patch", true)
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "good", Replicas: 1, Node: second}))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "bad", Replicas: 1, Node: second}))
	must(t, e.Pod(ctx, ns, "caller", first, "pause"))
	must(t, e.WaitCaptured(ctx, ns)) // before there is a waypoint, which is not
	must(t, e.Apply(ctx, fmt.Sprintf(behindWaypoint, ns)))
	_, err := e.Kubectl(ctx, "label", "namespace", ns, "weft.dev/use-waypoint=waypoint")
	must(t, err)
	_, err = e.Kubectl(ctx, "-n", ns, "wait", "gateway/waypoint", "--for=condition=Programmed", "--timeout=2m")
	must(t, err)
	must(t, e.Apply(ctx, fmt.Sprintf(patched, ns, "good", "yes")))
	must(t, e.Apply(ctx, fmt.Sprintf(patched, ns, "bad", "%NOSUCH(x)%")))
	for name, want := range map[string]string{"good": "True", "bad": "False RefusedByWaypoint"} {
		must(t, harness.Poll(ctx, time.Minute, "the verdict on patch "+name, func(ctx context.Context) error {
			out, err := e.Kubectl(ctx, "-n", ns, "get", "envoypatch", name, "-o",
				`jsonpath={range .status..conditions[?(@.type=="Enforced")]}{.status} {.reason} {.message}{end}`)
			if err == nil && (!strings.HasPrefix(out, want) || strings.Contains(out, "tried before it is served: ") != (name == "bad")) {
				err = fmt.Errorf("it is %q", out)
			}
			return err
		}))
	}
	for _, name := range []string{"good", "bad"} {
		must(t, answered(ctx, e, ns, "get", "http://"+name+"."+ns+"/?body="+mark))
	}
}
