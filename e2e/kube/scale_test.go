package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	fakeNodes  = 20 // that the pods are said to be on
	perService = 10 // pods
	crowdSpace = "e2e-scale"
)

// measured are the programs whose memory counts, and where they run.
var measured = []string{"weft-controller", "weft-agent", "weft-ztunnel"}

// TestScale tells Weft of E2E_SCALE=2000 pods of the mesh that no kubelet runs, ten to a Service, on nodes that do not
// exist, and writes the resident memory of each of its programs before and with them to scale.md. It skips without.
func TestScale(t *testing.T) {
	e := on(t)
	pods, _ := strconv.Atoi(os.Getenv("E2E_SCALE"))
	if pods <= 0 {
		t.Skip("set E2E_SCALE=2000, the number of pods")
	}
	if e.Cluster == nil {
		t.Skip("the nodes of this cluster cannot be entered")
	}
	ctx := t.Context()
	before := settled(t, e)
	ns := namespace(t, e, crowdSpace, true)
	fake(t, e)
	began := time.Now()
	crowd(t, e, ns, pods)
	must(t, harness.Poll(ctx, 5*time.Minute, "every ztunnel to know all pods", func(ctx context.Context) error {
		ztunnels, err := e.SystemPods(ctx, "weft-ztunnel")
		if err != nil {
			return err
		}
		for _, z := range ztunnels {
			dump, err := e.Page(ctx, z.Namespace, z.Name, 15000, "/config_dump")
			if err != nil {
				return err
			}
			if n := strings.Count(dump, `"name": "crowd-`) + strings.Count(dump, `"name":"crowd-`); n < pods {
				return fmt.Errorf("%s knows %d of %d", z.Name, n, pods)
			}
		}
		return nil
	}))
	known := time.Since(began)
	with := settled(t, e)
	var text strings.Builder
	fmt.Fprintf(&text, "# Resident memory\n\n| program | node | with the tests' few pods | with %d more, in %d Services |\n| --- | --- | ---: | ---: |\n", pods, pods/perService)
	for _, program := range measured {
		for _, node := range e.Cluster.Nodes() {
			if key := program + " " + node; with[key] > 0 {
				fmt.Fprintf(&text, "| %s | %s | %.0f MB | %.0f MB |\n", program, node, float64(before[key])/1e6, float64(with[key])/1e6)
			}
		}
	}
	fmt.Fprintf(&text, "\nFrom the first pod's creation until both ztunnels knew all: %.0f s.\n", known.Seconds())
	t.Log(text.String())
	must(t, os.WriteFile(e.Out+"/scale.md", []byte(text.String()), 0o644))
}

// settled is the memory of each program on each node, once it no longer changes by more than a fiftieth in five seconds.
func settled(t *testing.T, e *harness.Env) map[string]int64 {
	t.Helper()
	var last map[string]int64
	var at time.Time
	must(t, harness.Poll(t.Context(), 3*time.Minute, "memory to settle", func(context.Context) error {
		if time.Since(at) < 5*time.Second {
			return errors.New("it is too early to tell")
		}
		now := map[string]int64{}
		for _, node := range e.Cluster.Nodes() {
			for _, program := range measured {
				all, err := e.Cluster.MemoryInNode(node, program)
				if err != nil {
					return err
				}
				for _, bytes := range all {
					now[program+" "+node] = max(now[program+" "+node], bytes)
				}
			}
		}
		before := last
		last, at = now, time.Now()
		if before == nil {
			return errors.New("it was measured once")
		}
		for key, bytes := range now {
			if d := bytes - before[key]; d > bytes/50 || -d > bytes/50 {
				return fmt.Errorf("%s went from %d to %d bytes", key, before[key], bytes)
			}
		}
		return nil
	}))
	return last
}

// fake makes Nodes that nobody runs. Without the label of an operating system they get no pod of a DaemonSet.
func fake(t *testing.T, e *harness.Env) {
	t.Helper()
	nodes := e.Client.CoreV1().Nodes()
	t.Cleanup(func() {
		for i := range fakeNodes {
			_ = nodes.Delete(context.Background(), fmt.Sprint("fake-", i), metav1.DeleteOptions{})
		}
	})
	for i := range fakeNodes {
		_, err := nodes.Create(t.Context(), &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("fake-", i)}, Spec: corev1.NodeSpec{Unschedulable: true},
		}, metav1.CreateOptions{})
		must(t, err)
	}
}

// crowd makes the pods and their Services, as the scheduler, a kubelet and an agent would have left them.
func crowd(t *testing.T, e *harness.Env, ns string, pods int) {
	t.Helper()
	t.Cleanup(func() { // before the namespace: nobody else ends pods of nodes that do not exist
		now := int64(0)
		_ = e.Client.CoreV1().Pods(ns).DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	})
	must(t, harness.Poll(t.Context(), time.Minute, "the namespace's service account", func(ctx context.Context) error {
		_, err := e.Client.CoreV1().ServiceAccounts(ns).Get(ctx, "default", metav1.GetOptions{})
		return err
	}))
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for i := range pods / perService {
		app := fmt.Sprint("app-", i)
		g.Go(func() error {
			_, err := e.Client.CoreV1().Services(ns).Create(ctx, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: app},
				Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}},
			}, metav1.CreateOptions{})
			return err
		})
	}
	for i := range pods {
		g.Go(func() error { return standIn(ctx, e, ns, i) })
	}
	must(t, g.Wait())
}

// standIn makes the i-th pod, and says that it runs.
func standIn(ctx context.Context, e *harness.Env, ns string, i int) error {
	p, err := e.Client.CoreV1().Pods(ns).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprint("crowd-", i), Labels: map[string]string{"app": fmt.Sprint("app-", i/perService)},
			Annotations: map[string]string{harness.Captured: "enabled"},
		},
		Spec: corev1.PodSpec{
			NodeName: fmt.Sprint("fake-", i%fakeNodes), Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "app", Image: harness.Image()}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	ip := fmt.Sprintf("10.199.%d.%d", i/250, 1+i%250)
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	_, err = e.Client.CoreV1().Pods(ns).UpdateStatus(ctx, p, metav1.UpdateOptions{})
	return err
}
