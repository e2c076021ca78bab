package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// TestRelease upgrades, rolls back and uninstalls Weft while pods of a STRICT namespace talk. No new connection
// may fail; those that are open may end with a ztunnel's drain, or when their pod leaves the mesh. Then nothing
// is left on the nodes. At last Weft is installed again, for the tests to come.
func TestRelease(t *testing.T) {
	e := on(t)
	ns := namespace(t, e, "e2e-release", true)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	must(t, e.Apply(ctx, fmt.Sprintf(strict, ns)))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "far", Replicas: 1, Node: second}))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "near", Replicas: 1, Node: first}))
	must(t, e.WaitCaptured(ctx, ns))
	before := onNodes(t, e, "ls /opt/cni/bin; ip rule; ip -6 rule")
	t.Cleanup(func() {
		late, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if err := prepare(late, e); err != nil {
			t.Errorf("install again: %v", err)
		}
	})

	load, err := e.StartLoad(ctx, ns, "load", first, 20, mark, "http=http://far."+ns, "http=http://near."+ns, "tcp=far."+ns+":7070")
	must(t, err)
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"upgrade", func() error { return e.Install(ctx, "--set", "ztunnel.drainSeconds=5,logLevel=debug") }},
		{"rollback", func() error {
			if _, err := e.Helm(ctx, "rollback", "weft", "--namespace", harness.SystemNamespace); err != nil {
				return err
			}
			return e.WaitInstalled(ctx)
		}},
		{"uninstall", func() error { return e.Uninstall(ctx) }},
	} {
		then, err := load.Counts(ctx)
		must(t, err)
		must(t, step.do())
		now, err := load.Counts(ctx)
		must(t, err)
		if err := load.More(ctx, now, 20); err != nil {
			t.Errorf("after the %s: %v", step.name, err)
		}
		now, err = load.Counts(ctx)
		must(t, err)
		a, b := harness.Sum(then), harness.Sum(now)
		t.Logf("%s: %d sent, %d failed, of these %d on connections that were open", step.name, b.Sent-a.Sent, b.Failed-a.Failed, b.Broken-a.Broken)
		if failed := (b.Failed - b.Broken) - (a.Failed - a.Broken); failed > 0 {
			t.Errorf("%s: %d calls failed: %q", step.name, failed, b.Errors)
		}
	}
	nothingIsLeft(t, e, ns, before)
}

// nothingIsLeft looks for what a mesh could leave behind.
func nothingIsLeft(t *testing.T, e *harness.Env, ns string, before map[string]string) {
	t.Helper()
	for what, args := range map[string]string{
		"annotations of pods":  "get pods -A -o jsonpath={.items[*].metadata.annotations.weft\\.dev/redirection}",
		"taints":               "get nodes -o jsonpath={.items[*].spec.taints[?(@.key==\"weft.dev/agent-not-ready\")].key}",
		"programs":             "-n " + harness.SystemNamespace + " get deploy,ds,svc,pdb,lease,job -o name",
		"roots":                "get configmap -A --field-selector metadata.name=weft-root -o name",
		"rights":               "get clusterrole,clusterrolebinding,validatingadmissionpolicy -l app.kubernetes.io/part-of=weft -o name",
		"service accounts":     "-n " + harness.SystemNamespace + " get sa,role,rolebinding -l app.kubernetes.io/part-of=weft -o name",
		"the uninstall's mark": "-n " + harness.SystemNamespace + " get configmap weft-uninstall --ignore-not-found -o name",
	} {
		out, err := e.Kubectl(t.Context(), strings.Fields(args)...)
		must(t, err)
		if out = strings.TrimSpace(out); out != "" {
			t.Errorf("%s are left: %s", what, out)
		}
	}
	if out, err := e.Exec(t.Context(), ns, "load", "ip", "rule"); err != nil || strings.Count(strings.TrimSpace(out), "\n") != 2 {
		t.Errorf("routing rules of a pod: %q %v", out, err)
	}
	for node, found := range onNodes(t, e, "ls -A /var/run/weft; ls -d /sys/fs/bpf/weft 2>/dev/null; grep -l weft /etc/cni/net.d/*; true") {
		if found != "" {
			t.Errorf("node %s is not clean: %q", node, found)
		}
	}
	for node, now := range onNodes(t, e, "ls /opt/cni/bin; ip rule; ip -6 rule") {
		if was := strings.Replace(before[node], "weft-cni\n", "", 1); now != was {
			t.Errorf("node %s has now\n%s\nbefore, but for weft-cni, it had\n%s", node, now, was)
		}
	}
}

// onNodes runs a script in each node; none where the nodes of the cluster cannot be entered.
func onNodes(t *testing.T, e *harness.Env, script string) map[string]string {
	t.Helper()
	out := map[string]string{}
	if e.Cluster == nil {
		return out
	}
	for _, node := range e.Cluster.Nodes() {
		cmd, err := e.Cluster.NodeCommand(t.Context(), node, "sh", "-c", script)
		must(t, err)
		text, err := cmd.Output()
		if err != nil {
			t.Fatalf("in node %s: %v", node, err)
		}
		out[node] = string(text)
	}
	return out
}
