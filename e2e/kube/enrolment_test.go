package kube

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/kube/harness"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	corev1 "k8s.io/api/core/v1"
)

// enrolled is how many running pods are labelled at once.
const enrolled = 40

// One label on a namespace captures pods that run, without a restart. How long each pod took, from the label to its
// announcement (which follows its capture), is written to enrolment.md.
func TestEnrolment(t *testing.T) {
	e := on(t)
	ctx := t.Context()
	ns := namespace(t, e, "e2e-enrol", false)
	must(t, e.Apply(ctx, fmt.Sprintf(churned, ns, enrolled, 0)))
	must(t, e.WaitRollout(ctx, ns, "deployment/churn"))
	before, err := e.Pods(ctx, ns, "churn")
	must(t, err)
	events, err := e.Client.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{})
	must(t, err)
	defer events.Stop()

	began := time.Now()
	patch := []byte(`{"metadata":{"labels":{"weft.dev/dataplane-mode":"ambient"}}}`)
	_, err = e.Client.CoreV1().Namespaces().Patch(ctx, ns, types.MergePatchType, patch, metav1.PatchOptions{})
	must(t, err)
	took := map[string]time.Duration{}
	limit := time.After(time.Minute)
	for len(took) < enrolled {
		select {
		case <-limit:
			t.Fatalf("after a minute %d of %d pods are captured", len(took), enrolled)
		case event, open := <-events.ResultChan():
			if !open {
				t.Fatal("the API server ended the watch")
			}
			p, is := event.Object.(*corev1.Pod)
			if is && p.Annotations[harness.Captured] == "enabled" && took[p.Name] == 0 {
				took[p.Name] = time.Since(began)
			}
		}
	}
	after, err := e.Pods(ctx, ns, "churn")
	must(t, err)
	for i, p := range after {
		if len(after) != len(before) || p.UID != before[i].UID || p.Status.ContainerStatuses[0].RestartCount > 0 {
			t.Fatalf("pods were started again: %d before, %d after", len(before), len(after))
		}
	}
	all := make([]time.Duration, 0, enrolled)
	for _, d := range took {
		all = append(all, d)
	}
	slices.Sort(all)
	at := func(p int) int64 { return all[min(len(all)-1, len(all)*p/100)].Milliseconds() }
	text := fmt.Sprintf("# Enrolment of %d running pods at once\n\nFrom the namespace's label to the pod's announcement: p50 %d ms, p99 %d ms, last %d ms.\n",
		enrolled, at(50), at(99), all[len(all)-1].Milliseconds())
	t.Log(text)
	must(t, os.WriteFile(e.Out+"/enrolment.md", []byte(text), 0o644))
}
