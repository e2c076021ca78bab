package kube

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/e2e/kube/harness"
)

// mark is in every request and answer of the tests: a witness that sees it on a link has seen clear text.
const mark = "WEFT-E2E-CLEARTEXT"

// strict refuses clear text to every pod of a namespace.
const strict = `
apiVersion: weft.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: strict, namespace: %s}
spec: {mtls: {mode: STRICT}}
`

// onlyAccount allows one service account of the namespace and with that refuses everybody else.
const onlyAccount = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: only-%[2]s, namespace: %[1]s}
spec:
  action: ALLOW
  rules:
  - from: [{source: {principals: [cluster.local/ns/%[1]s/sa/%[2]s]}}]
`

const allProbes = `
startupProbe: {tcpSocket: {port: 7070}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 30}
readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
livenessProbe: {grpc: {port: 9090}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 3}
`

// A labelled namespace: two pods on two nodes talk, the link carries TLS to 15008 and no clear text, STRICT refuses who
// is outside, and the kubelet's probes pass although nobody but one account is allowed.
func TestMesh(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	ns, outside := namespace(t, e, "e2e-mesh", true), namespace(t, e, "e2e-outside", false)
	must(t, e.Apply(ctx, fmt.Sprintf(strict, ns)+"---"+fmt.Sprintf(onlyAccount, ns, "caller")))
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "server", Replicas: 1, Node: second, Probes: allProbes}))
	must(t, e.Pod(ctx, ns, "caller", first, "pause"))
	must(t, e.Pod(ctx, ns, "other", first, "pause"))
	must(t, e.Pod(ctx, outside, "stranger", first, "pause"))
	must(t, e.WaitCaptured(ctx, ns))
	pods, err := e.Pods(ctx, ns, "server")
	must(t, err)
	server := pods[0].Status.PodIP
	wire := watch(t, e, ns)

	url := "http://server." + ns + "/?body=" + mark
	for _, target := range []string{"http://" + server + ":8080/?body=" + mark, url} {
		must(t, answered(ctx, e, ns, "get", target))
		for _, who := range [][2]string{{ns, "other"}, {outside, "stranger"}} {
			out, err := e.Exec(ctx, who[0], who[1], "app", "get", strings.ReplaceAll(target, mark, "WEFT-E2E-REFUSED"))
			if err == nil {
				t.Errorf("%s/%s, who is not allowed, gets %s: %s", who[0], who[1], target, out)
			}
		}
	}
	must(t, answered(ctx, e, ns, "tcp", server+":7070", mark))
	wire.judge(t)
	probesPass(t, e, ns, "server")
}

// answered waits until a call by pod caller gets the mark back.
func answered(ctx context.Context, e *harness.Env, ns string, call ...string) error {
	return harness.Poll(ctx, 30*time.Second, strings.Join(call, " ")+" to be answered", func(ctx context.Context) error {
		out, err := e.Exec(ctx, ns, "caller", append([]string{"app"}, call...)...)
		if err == nil && !strings.Contains(out, mark) {
			err = fmt.Errorf("answered %q", out)
		}
		return err
	})
}

// probesPass waits until the kubelet has probed an app's pods three times more, and wants no probe of the namespace failed
// and no container of the app ended.
func probesPass(t *testing.T, e *harness.Env, ns, app string) {
	t.Helper()
	pods, err := e.Pods(t.Context(), ns, app)
	must(t, err)
	count := func(ctx context.Context, pod string) (n int, err error) {
		out, err := e.Exec(ctx, ns, pod, "app", "get", "http://127.0.0.1:8080/probes")
		if err == nil {
			n, err = strconv.Atoi(strings.TrimSpace(out))
		}
		return n, err
	}
	for _, p := range pods {
		began, err := count(t.Context(), p.Name)
		must(t, err)
		must(t, harness.Poll(t.Context(), 30*time.Second, "probes to go on", func(ctx context.Context) error {
			now, err := count(ctx, p.Name)
			if err == nil && now < began+3 {
				err = fmt.Errorf("%d were made", now-began)
			}
			return err
		}))
	}
	pods, err = e.Pods(t.Context(), ns, app)
	must(t, err)
	for _, p := range pods {
		for _, s := range p.Status.ContainerStatuses {
			if !s.Ready || s.RestartCount > 0 {
				t.Errorf("pod %s: ready %v, %d restarts", p.Name, s.Ready, s.RestartCount)
			}
		}
	}
	events, err := e.Client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "reason=Unhealthy"})
	must(t, err)
	all, err := e.Pods(t.Context(), ns, "")
	must(t, err)
	for _, event := range events.Items {
		if !stillStarting(all, event) {
			t.Errorf("a probe of %s failed: %s", event.InvolvedObject.Name, event.Message)
		}
	}
}

// stillStarting says whether a probe was refused because its container did not listen yet: before its pod was ready first.
func stillStarting(pods []corev1.Pod, event corev1.Event) bool {
	of := slices.IndexFunc(pods, func(p corev1.Pod) bool { return p.UID == event.InvolvedObject.UID })
	if of < 0 || !strings.Contains(event.Message, "connection refused") {
		return false
	}
	ready := slices.IndexFunc(pods[of].Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	return ready >= 0 && !event.LastTimestamp.After(pods[of].Status.Conditions[ready].LastTransitionTime.Time)
}

// Outside of the mesh the same traffic is seen in clear text: the witness of the other tests does see.
func TestWitness(t *testing.T) {
	e := on(t)
	first, second := twoNodes(t, e)
	ctx := t.Context()
	ns := namespace(t, e, "e2e-witness", false)
	must(t, e.Deploy(ctx, harness.Server{Namespace: ns, Name: "server", Replicas: 1, Node: second}))
	must(t, e.Pod(ctx, ns, "caller", first, "pause"))
	wire, err := e.Watch(ctx, mark)
	if errors.Is(err, harness.ErrNoLinks) {
		t.Skip(err)
	}
	must(t, err)
	for _, app := range []string{"server", "caller"} {
		wire.Member(podIP(t, e, ns, app), app)
	}
	must(t, harness.Poll(ctx, 30*time.Second, "the caller to be answered", func(ctx context.Context) error {
		_, err := e.Exec(ctx, ns, "caller", "app", "get", "http://server."+ns+"/?body="+mark)
		return err
	}))
	seen, err := wire.Stop()
	must(t, err)
	// by the mark, on the links of both nodes, and by the addresses
	marks, flows := 0, 0
	for _, c := range seen.Clear {
		if strings.Contains(c, mark) {
			marks++
		} else {
			flows++
		}
	}
	if marks < 4 || flows < 1 {
		t.Errorf("clear text was seen %d times by its mark and %d by addresses: %q", marks, flows, seen.Clear)
	}
}
