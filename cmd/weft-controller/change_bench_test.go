package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds"
)

// BenchmarkOneChange is what a pod that becomes ready costs the controller in meshes of some sizes, with a service
// for each ten pods and a policy for each hundred: objects → Snapshot → what is sent, status and all. Nobody is
// connected.
func BenchmarkOneChange(b *testing.B) {
	for _, pods := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(pods), func(b *testing.B) { benchOneChange(b, pods) })
	}
}

// nowhere is an output that writes nothing.
type nowhere struct{}

func (nowhere) set(wanted)                   {}
func (nowhere) known(*source.Objects) stamps { return stamps{} }
func (nowhere) leads() bool                  { return true }
func (nowhere) run(context.Context, func())  {}

func benchOneChange(b *testing.B, pods int) {
	authority, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: b.TempDir(), Create: true})
	if err != nil {
		b.Fatal(err)
	}
	p := newPipeline(config{trustDomain: "cluster.local", clusterDomain: "cluster.local"}, ca.NewNodePolicy(), newMetrics(prometheus.NewRegistry()), nowhere{}, zap.NewNop())
	defer p.close()
	if p.xds, err = xds.NewServer(xds.Options{TLS: authority.ServingTLS(ca.ServingOptions{}), Authenticator: ca.PeerCertAuthenticator{Authority: authority}}); err != nil {
		b.Fatal(err)
	}
	objs := meshOf(pods)
	publish := func(o *source.Objects) {
		p.changed(o, nil)
		if len(p.publisher.next) > 0 {
			next := <-p.publisher.next
			p.publisher.begin(next.Snapshot, next.what, time.Now())
		}
	}
	publish(objs)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		next := *objs
		next.Pods = slices.Clone(objs.Pods) // as every source does
		at := i * 7919 % pods
		pod := next.Pods[at].Value.DeepCopy()
		pod.Status.Conditions[0].Status = []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue}[i/pods%2]
		next.Pods[at].Value = pod
		publish(&next)
		objs = &next
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "live-MB")
	runtime.KeepAlive(objs)
}

// meshOf is pods in namespaces of a thousand.
func meshOf(pods int) *source.Objects {
	o := &source.Objects{}
	for i := range pods {
		ns, app := fmt.Sprintf("team-%03d", i/1000), fmt.Sprintf("app-%d", i/10)
		if i%1000 == 0 {
			o.Namespaces = append(o.Namespaces, sourceOf(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{api.LabelMode: api.ModeAmbient}}}))
		}
		labels := map[string]string{"app": app, "version": "v1"}
		ip := fmt.Sprintf("10.%d.%d.%d", 128+i>>16, i>>8&255, i&255)
		o.Pods = append(o.Pods, sourceOf(&corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("app-%06d", i), Namespace: ns, Labels: labels, Annotations: map[string]string{api.AnnotationRedirection: api.RedirectionEnabled}},
			Spec:       corev1.PodSpec{NodeName: fmt.Sprintf("node-%d", i%1000), ServiceAccountName: app},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		}))
		if i%10 == 0 {
			o.Services = append(o.Services, sourceOf(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: ns}, Spec: corev1.ServiceSpec{
				ClusterIP: fmt.Sprintf("10.%d.%d.%d", 64+i/10>>16, i/10>>8&255, i/10&255), Selector: map[string]string{"app": app}, Ports: []corev1.ServicePort{{Port: 80}}}}))
		}
		if i%100 == 0 {
			o.AuthorizationPolicies = append(o.AuthorizationPolicies, sourceOf(&api.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: ns}, Spec: api.AuthorizationPolicySpec{
				Selector: &api.Selector{MatchLabels: map[string]string{"app": app}},
				Rules:    []api.PolicyRule{{From: []api.From{{Source: api.Source{Principals: []string{"cluster.local/ns/x/sa/y"}}}}}}}}))
		}
	}
	return o
}
