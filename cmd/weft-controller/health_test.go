package main

import (
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
)

const checkedYAML = `apiVersion: weft.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: cart, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  healthChecks: [{http: {path: /ok}}]
---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, namespace: shop, labels: {app: cart}}
spec: {nodeName: n2, containers: [{name: c, image: i}]}
status: {phase: Running, podIP: 10.1.0.2, conditions: [{type: Ready, status: "True"}]}
---
`

// What one node's ztunnel says of its pod's health, the others hear, until it says otherwise.
func TestHealthFollowsEverywhere(t *testing.T) {
	b := newBench(t)
	b.write("src/all.yaml", service("cart", 80, "")+checkedYAML)
	address, _ := b.start()
	z := b.ztunnel(address)
	cart := func() *model.Workload {
		z.mu.Lock()
		defer z.mu.Unlock()
		return z.workloads["Kubernetes//Pod/shop/cart-1"]
	}
	eventually(t, "the pod arrives, ready", func() bool { return cart() != nil && !cart().Unhealthy })
	if s := z.service("cart"); s == nil || len(s.Probes) != 1 || s.Probes[0].Path != "/ok" {
		t.Fatalf("the check did not arrive: %+v", s)
	}
	conn := b.dial(address, "weft-system/weft-ztunnel", "n2")
	say := func(uids ...string) {
		if err := subscribe.ReportHealth(t.Context(), conn, "n2", uids); err != nil {
			t.Fatal(err)
		}
	}
	say("Kubernetes//Pod/shop/cart-1")
	eventually(t, "it is unhealthy everywhere", func() bool { return cart().Unhealthy })
	b.write("src/other.yaml", service("other", 80, "")) // a change of something else
	eventually(t, "the other service arrives", func() bool { return z.service("other") != nil })
	if !cart().Unhealthy {
		t.Error("forgotten with the next change")
	}
	say()
	eventually(t, "it is healthy again", func() bool { return !cart().Unhealthy })
}
