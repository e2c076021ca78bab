package kube

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// churned is a Deployment of pods that do nothing but be there.
var churned = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: churn, namespace: %s}
spec:
  replicas: %d
  strategy: {rollingUpdate: {maxSurge: 5, maxUnavailable: 5}}
  selector: {matchLabels: {app: churn}}
  template:
    metadata: {labels: {app: churn}, annotations: {e2e/wave: "%d"}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "` + harness.Image() + `", command: [/bin/app, pause], resources: {requests: {cpu: 1m, memory: 4Mi}}}]
`

// churn makes and removes 200 pods in waves of 50, each wave replacing the pods of the one before.
func churn(t *testing.T, w *shop) {
	ctx := t.Context()
	remove := func() {
		late, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := w.env.Kubectl(late, "-n", w.ns, "delete", "deployment", "churn", "--ignore-not-found", "--timeout=60s")
		must(t, err)
	}
	defer remove()
	for wave := range 4 {
		must(t, w.env.Apply(ctx, fmt.Sprintf(churned, w.ns, 50, wave)))
		// a pod costs about a second of processor: on a machine that does other things, too, waves take their time
		_, err := w.env.Kubectl(ctx, "-n", w.ns, "rollout", "status", "deployment/churn", "--timeout=10m")
		must(t, err)
	}
	remove()
	must(t, harness.Poll(ctx, 2*time.Minute, "the last pods to go", func(ctx context.Context) error {
		pods, err := w.env.Pods(ctx, w.ns, "churn")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are left", len(pods))
		}
		return err
	}))
}

// controllerGone takes the controller away. Pods that are known talk on; a pod that comes now is unknown to everybody,
// so nobody may answer it and it may reach nobody, until the controller is back.
func controllerGone(t *testing.T, w *shop) {
	ctx := t.Context()
	scale := func(n int) {
		_, err := w.env.Kubectl(ctx, "-n", harness.SystemNamespace, "scale", "deployment/weft-controller", fmt.Sprintf("--replicas=%d", n))
		must(t, err)
		must(t, w.env.WaitRollout(ctx, harness.SystemNamespace, "deployment/weft-controller"))
	}
	defer scale(2)
	scale(0)
	must(t, harness.Poll(ctx, time.Minute, "controllers to go", func(ctx context.Context) error {
		pods, err := w.env.SystemPods(ctx, "weft-controller")
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d are left", len(pods))
		}
		return err
	}))
	for i := range 3 { // pods go, too: what they were must not be anybody's
		name := fmt.Sprintf("unknown-%d", i)
		must(t, w.env.ApplyPod(ctx, w.ns, name, w.second, "serve"))
		if i < 2 {
			must(t, w.env.DeletePod(ctx, w.ns, name))
		}
	}
	if out, err := w.env.Exec(ctx, w.ns, "unknown-2", "app", "get", "http://near."+w.ns+"/?body="+mark); err == nil {
		t.Errorf("a pod that no controller knows was answered: %s", out)
	}
	minutes, _ := strconv.ParseFloat(os.Getenv("E2E_CONTROLLER_GONE"), 64) // of the ten, the suite takes half of one
	away := time.Duration(max(minutes, 0.5) * float64(time.Minute))
	select {
	case <-time.After(away): // the length is the test
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	scale(2)
	must(t, w.env.WaitReady(ctx, w.ns, "unknown-2"))
	must(t, harness.Poll(ctx, time.Minute, "the pod to be known", func(ctx context.Context) error {
		_, err := w.env.Exec(ctx, w.ns, "unknown-2", "app", "get", "http://near."+w.ns)
		return err
	}))
	must(t, w.env.DeletePod(ctx, w.ns, "unknown-2"))
}

// reuseAddress gives a pod the address of one that is gone. It must be who it is now: what the former was allowed it is
// not, and who calls the address gets it and not an error of a stale identity.
func reuseAddress(t *testing.T, w *shop) {
	ctx, e := t.Context(), w.env
	must(t, e.Apply(ctx, fmt.Sprintf(`
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: reuse, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: guarded}}
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/%[1]s/sa/trusted]}}]
`, w.ns)))
	must(t, e.Deploy(ctx, harness.Server{Namespace: w.ns, Name: "guarded", Replicas: 1, Node: w.first}))
	must(t, e.Pod(ctx, w.ns, "trusted", w.second, "serve"))
	get := func(pod string) (string, error) { return e.Exec(ctx, w.ns, pod, "app", "get", "http://guarded."+w.ns) }
	must(t, harness.Poll(ctx, 30*time.Second, "the trusted pod to be answered", func(context.Context) error { _, err := get("trusted"); return err }))
	ip := podIP(t, e, w.ns, "trusted")
	must(t, e.DeletePod(ctx, w.ns, "trusted"))
	must(t, nextAddress(e, w.second, ip))
	must(t, e.Pod(ctx, w.ns, "untrusted", w.second, "serve"))
	if got := podIP(t, e, w.ns, "untrusted"); got != ip {
		t.Fatalf("the new pod has %s, wanted it to have %s again", got, ip)
	}
	for range 5 {
		if out, err := get("untrusted"); err == nil {
			t.Errorf("a pod with the address of a trusted one was taken for it: %s", out)
		}
	}
	must(t, harness.Poll(ctx, 30*time.Second, "calls to the address to reach who has it now", func(ctx context.Context) error {
		out, err := e.Exec(ctx, w.ns, "untrusted", "app", "get", "http://near."+w.ns)
		if err != nil {
			return err
		}
		pods, err := e.Pods(ctx, w.ns, "near")
		if err != nil {
			return err
		}
		_ = out
		out, err = e.Exec(ctx, w.ns, pods[0].Name, "app", "get", "http://"+ip+":8080/")
		if err == nil && !strings.HasPrefix(out, "untrusted ") {
			err = fmt.Errorf("answered %q", out)
		}
		return err
	}))
	for _, args := range [][]string{{"pod/untrusted"}, {"deployment/guarded"}, {"authorizationpolicies.weft.dev/reuse"}} {
		_, err := e.Kubectl(ctx, append([]string{"-n", w.ns, "delete", "--timeout=60s"}, args...)...)
		must(t, err)
	}
}

func podIP(t *testing.T, e *harness.Env, ns, name string) string {
	t.Helper()
	pods, err := e.Pods(t.Context(), ns, name)
	must(t, err)
	if len(pods) != 1 {
		t.Fatalf("%d pods are called %s", len(pods), name)
	}
	return pods[0].Status.PodIP
}

// nextAddress makes the node's address plugin give this address next: it goes on from the one that it gave last.
func nextAddress(e *harness.Env, node, ip string) error {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return err
	}
	file := e.Cluster.Disk(node, "/var/lib/cni/networks/e2e/last_reserved_ip.0")
	return os.WriteFile(file, []byte(addr.Prev().String()), 0o644)
}
