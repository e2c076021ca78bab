package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func deployment(name, image string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
		Spec: appsv1.DeploymentSpec{Replicas: &replicas, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}},
		}},
	}
}

// world runs plan again and again with pods that become ready one round after they appear.
type world struct {
	t      *testing.T
	pods   []*corev1.Pod
	broken string // image whose pods never become ready
	lowest int    // ready pods at the worst moment
}

func (w *world) ready(seen []*corev1.Pod) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return find(seen, p.Namespace, p.Name) != nil && p.Spec.Containers[0].Image != w.broken
	}
}

// settle plans until nothing changes.
func (w *world) settle(ds ...*appsv1.Deployment) {
	w.t.Helper()
	w.lowest = 1 << 30
	started := w.pods
	for range 50 {
		next := plan(objects{Deployments: ds}, w.pods, w.ready(started), []string{"n1", "n2"})
		n := 0
		for _, p := range next {
			if w.ready(w.pods)(p) {
				n++
			}
		}
		w.lowest = min(w.lowest, n)
		same := slices.Equal(next, w.pods) && slices.Equal(started, w.pods)
		started, w.pods = w.pods, next
		if same {
			return
		}
	}
	w.t.Fatalf("the plan does not settle: %s", summary(w.pods))
}

func summary(pods []*corev1.Pod) string {
	count := map[string]int{}
	for _, p := range pods {
		count[p.Spec.NodeName+"/"+p.Labels["app"]+"/"+p.Spec.Containers[0].Image]++
	}
	var parts []string
	for _, n := range []string{"n1", "n2"} {
		for k, v := range count {
			if strings.HasPrefix(k, n) {
				parts = append(parts, fmt.Sprintf("%s=%d", k, v))
			}
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func TestPlanSpreadsAndScales(t *testing.T) {
	w := &world{t: t}
	w.settle(deployment("a", "i1", 4))
	if got, want := summary(w.pods), "n1/a/i1=2 n2/a/i1=2"; got != want {
		t.Errorf("4 replicas: %s, want %s", got, want)
	}
	names := map[string]bool{}
	for _, p := range w.pods {
		names[p.Name] = true
	}
	if len(names) != 4 {
		t.Errorf("names are not unique: %v", names)
	}
	w.settle(deployment("a", "i1", 1))
	if len(w.pods) != 1 {
		t.Errorf("scaled to 1: %d pods", len(w.pods))
	}
	w.settle(deployment("a", "i1", 0))
	if len(w.pods) != 0 {
		t.Errorf("scaled to 0: %d pods", len(w.pods))
	}
}

func TestPlanRollsWithoutLoss(t *testing.T) {
	w := &world{t: t}
	w.settle(deployment("a", "i1", 3))
	w.settle(deployment("a", "i2", 3))
	if got := summary(w.pods); strings.Contains(got, "i1") || len(w.pods) != 3 {
		t.Errorf("after the rollout: %s", got)
	}
	if w.lowest < 3 {
		t.Errorf("only %d pods were ready at one moment of the rollout, want never fewer than 3", w.lowest)
	}
}

func TestPlanKeepsServingWhenTheNewVersionIsBroken(t *testing.T) {
	w := &world{t: t, broken: "bad"}
	w.settle(deployment("a", "good", 2))
	w.settle(deployment("a", "bad", 2))
	if n := strings.Count(fmt.Sprint(images(w.pods)), "good"); n != 2 {
		t.Errorf("%d pods of the good version are left, want 2: %s", n, summary(w.pods))
	}
	w.settle(deployment("a", "better", 2))
	if got := fmt.Sprint(images(w.pods)); got != "[better better]" {
		t.Errorf("after the repair: %s", got)
	}
}

func images(pods []*corev1.Pod) (out []string) {
	for _, p := range pods {
		out = append(out, p.Spec.Containers[0].Image)
	}
	return out
}

func TestPlanReplacesAllBrokenPods(t *testing.T) {
	w := &world{t: t, broken: "bad"}
	w.settle(deployment("a", "bad", 2))
	w.settle(deployment("a", "good", 2))
	if got := fmt.Sprint(images(w.pods)); got != "[good good]" {
		t.Errorf("pods %s: broken old pods must not block the rollout", got)
	}
}

func TestScheduleHonoursPins(t *testing.T) {
	by := func(mutate func(*corev1.PodTemplateSpec)) string {
		d := deployment("a", "i", 1)
		mutate(&d.Spec.Template)
		return plan(objects{Deployments: []*appsv1.Deployment{d}}, nil, func(*corev1.Pod) bool { return true }, []string{"n1", "n2"})[0].Spec.NodeName
	}
	if got := by(func(p *corev1.PodTemplateSpec) { p.Annotations = map[string]string{annotationNode: "n2"} }); got != "n2" {
		t.Errorf("annotation: on %s", got)
	}
	if got := by(func(p *corev1.PodTemplateSpec) { p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: "n2"} }); got != "n2" {
		t.Errorf("node selector: on %s", got)
	}
}
