package kube

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// With hand-over a new ztunnel goes on with the connections of the one before it: a rolling update under load, three
// times, cuts none of those that are open and refuses none that is new, on the same node and across.
func TestUpgrade(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	must(t, e.Install(ctx, "--set", "ztunnel.drainSeconds=10", "--set", "ztunnel.handOver=true"))
	t.Cleanup(func() {
		late, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := prepare(late, e); err != nil {
			t.Errorf("install again: %v", err)
		}
	})
	ns := namespace(t, e, "e2e-upgrade", true)
	must(t, e.Apply(ctx, fmt.Sprintf(strict, ns)))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "near", Replicas: 1, Node: first}))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "far", Replicas: 1, Node: second}))
	must(t, e.WaitCaptured(ctx, ns))
	load, err := e.StartLoad(ctx, ns, "load", first, 20, mark, "tcp=far."+ns+":7070", "tcp=near."+ns+":7070",
		"keep=http://far."+ns, "http=http://far."+ns, "grpc=near."+ns+":9090")
	must(t, err)
	wire := watch(t, e, ns)
	w := &shop{env: e, ns: ns, first: first, second: second}
	for round := range 3 {
		then, err := load.Counts(ctx)
		must(t, err)
		w.restart(t, "daemonset/weft-ztunnel")
		now, err := load.Counts(ctx)
		must(t, err)
		if err := load.More(ctx, now, 20); err != nil {
			t.Errorf("after upgrade %d: %v", round+1, err)
		}
		now, err = load.Counts(ctx)
		must(t, err)
		a, b := harness.Sum(then), harness.Sum(now)
		t.Logf("upgrade %d: %d sent, %d failed, of these %d on connections that were open", round+1, b.Sent-a.Sent, b.Failed-a.Failed, b.Broken-a.Broken)
		if b.Failed > a.Failed || b.Broken > a.Broken {
			t.Errorf("upgrade %d: %q", round+1, b.Errors)
		}
	}
	wire.judge(t)
}
