package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// denied keeps everybody from the TCP echo.
const denied = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: denied, namespace: %s}
spec:
  action: DENY
  rules:
  - to: [{operation: {ports: ["7070"]}}]
`

// selecting lets everything in, but selects: the node's firewall is to see it.
const selecting = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: near, namespace: %s}
spec:
  podSelector: {matchLabels: {app: near}}
  policyTypes: [Ingress]
  ingress: [{}]
`

// Pods of one node, whose namespace asks for it, talk straight through the kernel, by address and by Service, and are
// labelled so; nobody else gets in; a policy and the label cut what is open, and a NetworkPolicy ends handing over;
// agents and ztunnels are replaced under load. The cluster's network is a bridge, so the kernel has to hand packets over.
func TestSameNode(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	must(t, e.Install(ctx, "--set", "ztunnel.drainSeconds=10", "--set", "sameNode.handOver=unselected"))
	t.Cleanup(func() {
		late, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := prepare(late, e); err != nil {
			t.Errorf("install again: %v", err)
		}
	})
	ns := namespace(t, e, "e2e-samenode", true)
	sameNode(t, e, ns, "direct")
	must(t, e.Apply(ctx, fmt.Sprintf(strict, ns)+"---"+fmt.Sprintf(onlyAccount, ns, "load")))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "near", Replicas: 1, Node: first, Probes: allProbes}))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "far", Replicas: 1, Node: second}))
	must(t, e.Pod(ctx, ns, "other", first, "pause"))
	must(t, e.WaitCaptured(ctx, ns))
	near := podIP(t, e, ns, "near")
	load, err := e.StartLoad(ctx, ns, "load", first, 20, mark, "http=http://near."+ns, "http=http://"+near+":8080",
		"keep=http://near."+ns, "tcp=near."+ns+":7070", "grpc=near."+ns+":9090", "http=http://far."+ns)
	must(t, err)
	wire := watch(t, e, ns)
	goesDirect(t, e, first, 50)

	refused := func(t *testing.T) {
		t.Helper()
		for _, target := range []string{"http://near." + ns, "http://" + near + ":8080"} {
			if out, err := e.Exec(ctx, ns, "other", "app", "get", target); err == nil {
				t.Errorf("other, who is not allowed, gets %s: %s", target, out)
			}
		}
	}
	refused(t)
	while := func(name string, mayFail, mayBreak bool, do func()) {
		t.Helper()
		then, err := load.Counts(ctx)
		must(t, err)
		do()
		now, err := load.Counts(ctx)
		must(t, err)
		if err := load.More(ctx, now, 20); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
		now, err = load.Counts(ctx)
		must(t, err)
		a, b := harness.Sum(then), harness.Sum(now)
		failed, broken := b.Failed-a.Failed, b.Broken-a.Broken
		t.Logf("%s: %d sent, %d failed, of these %d on connections that were open", name, b.Sent-a.Sent, failed, broken)
		if failed > broken && !mayFail || broken > 0 && !mayBreak {
			t.Errorf("%s: %d calls failed, %d on connections that were open: %q", name, failed, broken, b.Errors)
		}
		refused(t)
		goesDirect(t, e, first, 50)
	}
	w := &shop{env: e, ns: ns, first: first, second: second}
	while("rolling update of weft-agent", false, false, func() { w.restart(t, "daemonset/weft-agent") })
	// the line is the first connection of its pair, and in the tunnel; the ztunnel's end makes it a direct one
	while("rolling update of weft-ztunnel", false, true, func() { w.restart(t, "daemonset/weft-ztunnel") })

	// a NetworkPolicy has the node forward what it selects, and behind a bridge that is encrypted
	must(t, e.Apply(ctx, fmt.Sprintf(selecting, ns)))
	noWays(t, e, first)
	_, err = e.Kubectl(ctx, "-n", ns, "delete", "networkpolicy", "near")
	must(t, err)
	goesDirect(t, e, first, 50)
	// the line was cut with its way, and has opened its pair again: the end of the ztunnel makes it a direct one
	w.restart(t, "daemonset/weft-ztunnel")
	goesDirect(t, e, first, 50)

	cuts := func(t *testing.T, what string, do func()) {
		t.Helper()
		then, err := load.Counts(ctx)
		must(t, err)
		do()
		must(t, harness.Poll(ctx, 30*time.Second, what+" to cut the line", func(ctx context.Context) error {
			now, err := load.Counts(ctx)
			if key := "tcp=near." + ns + ":7070"; err == nil && now[key].Broken == then[key].Broken {
				err = fmt.Errorf("it lives")
			}
			return err
		}))
	}
	cuts(t, "a policy", func() { must(t, e.Apply(ctx, fmt.Sprintf(denied, ns))) })
	if out, err := e.Exec(ctx, ns, "load", "app", "tcp", near+":7070", mark); err == nil {
		t.Errorf("who is denied is answered: %s", out)
	}
	_, err = e.Kubectl(ctx, "-n", ns, "delete", "authorizationpolicies.weft.dev", "denied")
	must(t, err)
	now, err := load.Counts(ctx)
	must(t, err)
	must(t, load.More(ctx, now, 20))
	while("end of weft-ztunnel", true, true, func() {
		if e.Cluster != nil {
			w.kill(t, "weft-ztunnel", first)
		} else {
			w.restart(t, "daemonset/weft-ztunnel")
		}
	})
	cuts(t, "the label", func() { sameNode(t, e, ns, "encrypt") })
	now, err = load.Counts(ctx)
	must(t, err)
	must(t, load.More(ctx, now, 20))
	noWays(t, e, first)
	wire.judge(t)
	probesPass(t, e, ns, "near")
}

// sameNode sets the label that says whether pods of one node talk directly.
func sameNode(t *testing.T, e *harness.Env, ns, value string) {
	t.Helper()
	_, err := e.Kubectl(t.Context(), "label", "--overwrite", "namespace", ns, "weft.dev/same-node="+value)
	must(t, err)
}

// noWays waits until no way is open past the ztunnel of a node.
func noWays(t *testing.T, e *harness.Env, node string) {
	t.Helper()
	must(t, harness.Poll(t.Context(), 30*time.Second, "no way to be open", func(context.Context) error {
		if ways := direct(t, e, node); len(ways) > 0 {
			return fmt.Errorf("open are %v", ways)
		}
		return nil
	}))
}

// goesDirect waits until the ztunnel of a node has seen so many more connections go past it.
func goesDirect(t *testing.T, e *harness.Env, node string, more int) {
	t.Helper()
	began := -1
	must(t, harness.Poll(t.Context(), time.Minute, "connections to go directly", func(ctx context.Context) error {
		now := opened(t, e, node)
		if began < 0 || now < began { // the ztunnel is another one
			began = now
		}
		if now < began+more {
			return fmt.Errorf("%d of %d did, open ways: %v", now-began, more, direct(t, e, node))
		}
		return nil
	}))
}

// opened counts the connections past the ztunnel of a node, as it does.
func opened(t *testing.T, e *harness.Env, node string) (n int) {
	t.Helper()
	for line := range strings.Lines(ztunnelPage(t, e, node, 15020, "/metrics")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		if strings.Contains(name, "connections_opened_total") && strings.Contains(name, `"same_node"`) {
			count, err := strconv.ParseFloat(value, 64)
			must(t, err)
			n += int(count)
		}
	}
	return n
}

// direct lists the ways that are open past the ztunnel of a node.
func direct(t *testing.T, e *harness.Env, node string) []any {
	t.Helper()
	var dump struct {
		Direct []any `json:"direct"`
	}
	must(t, json.Unmarshal([]byte(ztunnelPage(t, e, node, 15000, "/config_dump")), &dump))
	return dump.Direct
}

// ztunnelPage is a page of the newest ztunnel of a node.
func ztunnelPage(t *testing.T, e *harness.Env, node string, port int, path string) (text string) {
	t.Helper()
	must(t, harness.Poll(t.Context(), 30*time.Second, path+" of the ztunnel", func(ctx context.Context) error {
		pods, err := e.SystemPods(ctx, "weft-ztunnel")
		if err != nil {
			return err
		}
		for _, p := range pods {
			if p.Spec.NodeName != node || p.DeletionTimestamp != nil {
				continue
			}
			text, err = e.Page(ctx, p.Namespace, p.Name, port, path)
			return err
		}
		return fmt.Errorf("node %s has none", node)
	}))
	return text
}
