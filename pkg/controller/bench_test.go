package controller

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// bigMesh is pods in 20 namespaces, ten to a service, with a policy for each service.
func bigMesh(pods int) *source.Objects {
	o := &source.Objects{}
	add := func(i int) {
		ns, app := fmt.Sprintf("ns%d", i%20), fmt.Sprintf("app%d", i/200)
		labels := map[string]string{"app": app, "version": "v1"}
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("p%d", i), Namespace: ns, Labels: labels,
			Annotations: map[string]string{api.AnnotationRedirection: api.RedirectionEnabled}}}
		p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255),
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
		o.Pods = append(o.Pods, source.Object[corev1.Pod]{Value: p})
		if i%200 >= 20 {
			return
		}
		o.Services = append(o.Services, source.Object[corev1.Service]{Value: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: ns},
			Spec: corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.200.%d.%d", i/200, i%200), Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}}}})
		o.AuthorizationPolicies = append(o.AuthorizationPolicies, source.Object[api.AuthorizationPolicy]{Value: &api.AuthorizationPolicy{
			ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: ns},
			Spec: api.AuthorizationPolicySpec{Selector: &api.Selector{MatchLabels: map[string]string{"app": app}},
				Rules: []api.PolicyRule{{From: []api.From{{Source: api.Source{Principals: []string{"cluster.local/ns/x/sa/y"}}}}}}}}})
	}
	for i := range pods {
		add(i)
	}
	for i := range 20 {
		o.Namespaces = append(o.Namespaces, source.Object[corev1.Namespace]{Value: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("ns%d", i), Labels: map[string]string{api.LabelMode: api.ModeAmbient}}}})
	}
	return o
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("pods=%d", n), func(b *testing.B) {
			o := bigMesh(n)
			b.ReportAllocs()
			for b.Loop() {
				if s, _ := Compile(o, Config{}); s.Workloads.Len() != n || len(s.Services) == 0 {
					b.Fatalf("%d workloads, %d services", s.Workloads.Len(), len(s.Services))
				}
			}
		})
	}
}
