package kube

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// operation is something that is done to a cluster while its pods talk.
type operation struct {
	name string
	do   func(t *testing.T, w *shop)
	// What may go wrong meanwhile. Clear text never may.
	mayFail  bool // calls: who carries or answers them is away for a time
	mayBreak bool // long-lived connections: they end, at the latest when a drain does
	inNodes  bool // needs a node's insides
}

// shop is what talks: near on the callers' node, far on the other one, everywhere on both.
type shop struct {
	env           *harness.Env
	ns            string
	first, second string // nodes
	targets       []string
}

var operations = []operation{
	{name: "nothing (for comparison)", do: func(*testing.T, *shop) {}},
	{name: "rolling update of weft-agent", do: func(t *testing.T, w *shop) { w.restart(t, "daemonset/weft-agent") }},
	{name: "rolling update of weft-ztunnel", do: func(t *testing.T, w *shop) { w.restart(t, "daemonset/weft-ztunnel") }, mayBreak: true},
	{name: "rolling update of weft-controller", do: func(t *testing.T, w *shop) { w.restart(t, "deployment/weft-controller") }},
	{name: "SIGKILL of weft-agent on both nodes", do: func(t *testing.T, w *shop) { w.kill(t, "weft-agent", w.first, w.second) }, inNodes: true},
	{name: "SIGKILL of weft-ztunnel on the callers' node", do: func(t *testing.T, w *shop) { w.kill(t, "weft-ztunnel", w.first) }, mayFail: true, mayBreak: true, inNodes: true},
	{name: "SIGKILL of weft-ztunnel on the servers' node", do: func(t *testing.T, w *shop) { w.kill(t, "weft-ztunnel", w.second) }, mayFail: true, mayBreak: true, inNodes: true},
	{name: "API server killed and started again", do: restartAPIServer, inNodes: true},
	{name: "controller gone while pods come and go", do: controllerGone},
	{name: "200 pods come and go", do: churn},
	{name: "pod with the address of one that is gone", do: reuseAddress, inNodes: true},
	{name: "node short of memory, a pod is evicted for it", do: shortOfMemory, inNodes: true},
	{name: "node drained and uncordoned", do: drain, mayBreak: true},
	{name: "node loses power and starts again", do: reboot, mayFail: true, mayBreak: true, inNodes: true},
}

// TestOperations does each while a load runs, writes what it cost to operations.md, and fails on clear text, on calls
// that failed and should not have, and on what does not come back.
func TestOperations(t *testing.T) {
	e := on(t)
	w := &shop{env: e, ns: namespace(t, e, "e2e-ops", true)}
	w.first, w.second = twoNodes(t, e)
	ctx := t.Context()
	must(t, e.Apply(ctx, fmt.Sprintf(strict, w.ns)))
	must(t, e.Deploy(ctx, harness.Server{Namespace: w.ns, Name: "near", Replicas: 1, Node: w.first}))
	must(t, e.Deploy(ctx, harness.Server{Namespace: w.ns, Name: "far", Replicas: 1, Node: w.second}))
	must(t, e.Deploy(ctx, harness.Server{Namespace: w.ns, Name: "everywhere", Replicas: 2}))
	must(t, e.WaitCaptured(ctx, w.ns))
	w.targets = []string{
		"http=http://far." + w.ns, "keep=http://far." + w.ns, "grpc=far." + w.ns + ":9090", "tcp=far." + w.ns + ":7070",
		"http=http://near." + w.ns, "tcp=near." + w.ns + ":7070", "http=http://everywhere." + w.ns,
	}
	table := newTable()
	for i, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			if o.inNodes && e.Cluster == nil {
				t.Skip("the nodes of this cluster cannot be entered")
			}
			w.under(t, fmt.Sprintf("load-%d", i), o, table)
		})
		must(t, table.write(e.Out+"/operations.md"))
	}
}

// under does an operation under load and judges it.
func (w *shop) under(t *testing.T, name string, o operation, table *table) {
	on(t)
	ctx := t.Context()
	w.healthy(t)
	load, err := w.env.StartLoad(ctx, w.ns, name, w.first, 20, mark, w.targets...)
	must(t, err)
	defer func() {
		keepEvidence(t)
		late, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = w.env.DeletePod(late, w.ns, name)
	}()
	wire := watch(t, w.env, w.ns)
	began := time.Now()
	o.do(t, w)
	took := time.Since(began)
	since, err := load.Counts(ctx)
	must(t, err)
	if err := load.More(ctx, since, 20); err != nil { // what was under way has ended, and all is well again
		t.Errorf("after it: %v", err)
	}
	counts, err := load.Counts(ctx)
	must(t, err)
	seen := wire.judge(t)
	sum := harness.Sum(counts)
	table.add(o.name, took, sum, seen)
	t.Logf("%d sent, %d failed, %d long-lived connections broken, longest gap %d ms", sum.Sent, sum.Failed, sum.Broken, sum.LongestGapMs)
	for _, e := range sum.Errors[:min(len(sum.Errors), 12)] {
		t.Log(e)
	}
	if sum.Failed > sum.Broken && !o.mayFail {
		t.Errorf("%d of %d calls failed", sum.Failed-sum.Broken, sum.Sent)
	}
	if sum.Broken > 0 && !o.mayBreak {
		t.Errorf("%d long-lived connections broke", sum.Broken)
	}
}

// healthy waits until all that talks and all that carries it is ready: one operation must not pay for the one before.
func (w *shop) healthy(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	must(t, w.env.WaitInstalled(ctx))
	for _, d := range []string{"near", "far", "everywhere"} {
		must(t, w.env.WaitRollout(ctx, w.ns, "deployment/"+d))
	}
	must(t, w.env.WaitCaptured(ctx, w.ns))
}

func (w *shop) restart(t *testing.T, what string) {
	t.Helper()
	_, err := w.env.Kubectl(t.Context(), "-n", harness.SystemNamespace, "rollout", "restart", what)
	must(t, err)
	must(t, w.env.WaitRollout(t.Context(), harness.SystemNamespace, what))
}

func (w *shop) kill(t *testing.T, program string, nodes ...string) {
	t.Helper()
	before, err := w.restarts(t.Context(), program)
	must(t, err)
	for _, node := range nodes {
		_, err := w.env.Cluster.KillInNode(node, program)
		must(t, err)
	}
	must(t, harness.Poll(t.Context(), time.Minute, program+" to be started again", func(ctx context.Context) error {
		now, err := w.restarts(ctx, program)
		if err == nil && now < before+len(nodes) {
			err = fmt.Errorf("%d restarts, before it were %d", now, before)
		}
		return err
	}))
	must(t, w.env.WaitInstalled(t.Context()))
}

func (w *shop) restarts(ctx context.Context, program string) (int, error) {
	pods, err := w.env.SystemPods(ctx, program)
	n := 0
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			n += int(s.RestartCount)
		}
	}
	return n, err
}

func restartAPIServer(t *testing.T, w *shop) {
	ctx, c := t.Context(), w.env.Cluster
	must(t, c.KillControl("kube-apiserver"))
	must(t, c.StartControl("kube-apiserver"))
	must(t, c.WaitAPI(ctx))
	// all is back when a new pod gets through all of it
	must(t, w.env.Pod(ctx, w.ns, "after-api", w.second, "pause"))
	must(t, w.env.WaitCaptured(ctx, w.ns))
	must(t, w.env.DeletePod(ctx, w.ns, "after-api"))
}

// shortOfMemory lets a pod without requests take more memory than the servers' node has left. The kubelet says so and
// evicts it; of Weft's programs, which are critical to the node, none ends and none is evicted, and the calls go on.
func shortOfMemory(t *testing.T, w *shop) {
	ctx := t.Context()
	before, err := w.restarts(ctx, "weft")
	must(t, err)
	defer func() { // the next operation wants a node with room
		late, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.env.DeletePod(late, w.ns, "glutton"); err != nil {
			t.Error(err)
		}
	}()
	lift, err := w.env.Cluster.LimitMemory(ctx, w.second, 512<<20)
	defer func() {
		late, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if lift == nil {
			return
		}
		if err := lift(late); err != nil {
			t.Error(err)
		}
	}()
	must(t, err)
	must(t, w.env.Apply(ctx, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: glutton, namespace: %s, labels: {app: glutton}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  nodeSelector: {kubernetes.io/hostname: %s}
  containers: [{name: app, image: %q, command: [/bin/app, eat, "1024"]}]
`, w.ns, w.second, harness.Image())))
	must(t, harness.Poll(ctx, 2*time.Minute, "the glutton to be evicted, and the node to say that it is short of memory", func(ctx context.Context) error {
		p, err := pod(ctx, w.env, w.ns, "glutton")
		if err == nil && p.Status.Reason != "Evicted" {
			err = fmt.Errorf("it is %s %s", p.Status.Phase, p.Status.Reason)
		}
		if err != nil {
			return err
		}
		out, err := w.env.Kubectl(ctx, "get", "node", w.second, "-o", `jsonpath={.status.conditions[?(@.type=="MemoryPressure")].status}`)
		if err == nil && out != "True" {
			err = fmt.Errorf("MemoryPressure is %q", out)
		}
		return err
	}))
	must(t, w.env.WaitInstalled(ctx))
	after, err := w.restarts(ctx, "weft")
	must(t, err)
	if after != before {
		t.Errorf("%d restarts of Weft's programs, before it were %d", after, before)
	}
	for _, program := range []string{"weft-agent", "weft-ztunnel", "weft-controller"} {
		pods, err := w.env.SystemPods(ctx, program)
		must(t, err)
		for _, p := range pods {
			if p.Status.Reason == "Evicted" {
				t.Errorf("%s was evicted from %s: %s", p.Name, p.Spec.NodeName, p.Status.Message)
			}
		}
	}
}

func drain(t *testing.T, w *shop) {
	ctx := t.Context()
	uncordon := func(ctx context.Context) error {
		_, err := w.env.Kubectl(ctx, "uncordon", w.second)
		return err
	}
	defer func() { // also after a drain that failed: the next operations want the node
		late, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := uncordon(late); err != nil {
			t.Error(err)
		}
	}()
	// far lives on that node alone, so it has to be let go elsewhere for the time
	_, err := w.env.Kubectl(ctx, "drain", w.second, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=120s", "--pod-selector=app notin (far)")
	must(t, err)
	must(t, uncordon(ctx))
	must(t, w.env.WaitRollout(ctx, w.ns, "deployment/everywhere"))
}

func reboot(t *testing.T, w *shop) {
	ctx, c := t.Context(), w.env.Cluster
	must(t, c.StopNode(ctx, w.second))
	must(t, c.StartNode(ctx, w.second))
	must(t, harness.Poll(ctx, 2*time.Minute, "pods of the node to run again", func(ctx context.Context) error {
		pods, err := w.env.Pods(ctx, w.ns, "far")
		if err != nil {
			return err
		}
		for _, p := range pods {
			for _, s := range p.Status.ContainerStatuses {
				if s.RestartCount > 0 && s.Ready {
					return nil
				}
			}
		}
		return errors.New("far has not been started again")
	}))
	w.healthy(t)
}
