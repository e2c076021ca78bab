package kube

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
	corev1 "k8s.io/api/core/v1"
)

// Over IPv6 as in TestMesh: by the pod's address and by the Service's, across nodes, STRICT, nothing in clear text.
func TestMeshIPv6(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	ns, outside := namespace(t, e, "e2e-mesh6", true), namespace(t, e, "e2e-outside6", false)
	must(t, e.Apply(ctx, fmt.Sprintf(strict, ns)))
	must(t, e.Pod(ctx, ns, "caller", first, "pause"))
	if caller, err := pod(ctx, e, ns, "caller"); err != nil || address6(caller) == "" {
		t.Skipf("pods of this cluster have no addresses of IPv6 (E2E_FAMILY=dual): %v", err)
	}
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "server", Replicas: 1, Node: second}))
	must(t, e.Pod(ctx, outside, "stranger", first, "pause"))
	_, err := e.Kubectl(ctx, "-n", ns, "patch", "service", "server", "--type=merge", "-p", `{"spec":{"ipFamilyPolicy":"RequireDualStack"}}`)
	must(t, err)
	must(t, e.WaitCaptured(ctx, ns))
	vip, err := e.Kubectl(ctx, "-n", ns, "get", "service", "server", "-o", "jsonpath={.spec.clusterIPs[1]}")
	must(t, err)
	pods, err := e.Pods(ctx, ns, "server")
	must(t, err)
	wire := watch(t, e, ns)
	if wire.wire != nil {
		for _, app := range []string{"server", "caller"} {
			pods, err := e.Pods(ctx, ns, app)
			must(t, err)
			wire.wire.Member(address6(&pods[0]), app)
		}
	}
	for _, target := range []string{net.JoinHostPort(vip, "80"), net.JoinHostPort(address6(&pods[0]), "8080")} {
		url := "http://" + target + "/?body="
		must(t, harness.Poll(ctx, 30*time.Second, "an answer of "+target, func(ctx context.Context) error {
			out, err := e.Exec(ctx, ns, "caller", "app", "get", url+mark)
			if err == nil && !strings.Contains(out, mark) {
				err = fmt.Errorf("answered %q", out)
			}
			return err
		}))
		if out, err := e.Exec(ctx, outside, "stranger", "app", "get", url+"WEFT-E2E-REFUSED"); err == nil {
			t.Errorf("the stranger, who is outside, gets %s: %s", target, out)
		}
	}
	wire.judge(t)
}

// address6 is a pod's address of IPv6, or "".
func address6(p *corev1.Pod) string {
	for _, a := range p.Status.PodIPs {
		if strings.Contains(a.IP, ":") {
			return a.IP
		}
	}
	return ""
}
