package main

import (
	"context"
	"testing"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
)

const (
	systemNamespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: weft-system}\n"
	uninstallMark   = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: weft-uninstall, namespace: weft-system}\n"
	agentDaemonSet  = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: weft-agent, namespace: weft-system}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: a}}
    spec: {containers: [{name: c, image: i}]}
`
)

// Only an uninstall gives the node back: no restart, no upgrade, no DaemonSet that somebody deleted.
func TestWhatCountsAsUninstall(t *testing.T) {
	s := kubetest.Start(t)
	client, err := kubernetes.NewForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{log: zaptest.NewLogger(t), client: client}
	check := func(what string, want bool) {
		t.Helper()
		if got := a.uninstalled(context.Background()); got != want {
			t.Errorf("%s: uninstalled is %v", what, got)
		}
	}
	s.Apply(systemNamespace, agentDaemonSet)
	check("a restart", false)
	s.Delete(agentDaemonSet)
	check("a DaemonSet that was deleted, or is being replaced", false)
	s.Apply(agentDaemonSet, uninstallMark)
	check("a restart after an uninstall that was broken off", false)
	s.Delete(agentDaemonSet)
	check("an uninstall", true)

	s.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if a.uninstalled(ctx) {
		t.Error("without an API server: taken for an uninstall")
	}
	if (&agent{}).uninstalled(context.Background()) {
		t.Error("without a cluster: taken for an uninstall")
	}
}

// Whatever is decided of a pod otherwise, it leaves.
func TestAllLeave(t *testing.T) {
	w := newWatcher("n1", nil, zaptest.NewLogger(t))
	pod := func(name, mode string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop", UID: "u-1", Labels: map[string]string{api.LabelMode: mode}},
			Spec: corev1.PodSpec{NodeName: "n1"}, Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.1", PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}}}}
	}
	s := stateOf(&source.Objects{
		Namespaces: []source.Object[corev1.Namespace]{{Value: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}}},
		Pods:       []source.Object[corev1.Pod]{{Value: pod("in", api.ModeAmbient)}},
	}, nil)
	if d := w.decide(s); len(d) != 1 || d[0].Verdict != enroll.Enrol {
		t.Fatalf("before: %+v", d)
	}
	w.leaving.Store(true)
	if d := w.decide(s); len(d) != 1 || d[0].Verdict != enroll.Leave || d[0].Reason != uninstalling {
		t.Errorf("then: %+v", d)
	}
}
