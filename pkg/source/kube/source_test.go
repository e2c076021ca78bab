package kube

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/kubetest"
	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// reader is a Source at work.
type reader struct {
	t *testing.T

	mu       sync.Mutex // protects what follows
	objects  *source.Objects
	problems []source.Problem
}

func read(t *testing.T, s *kubetest.Server, node string) *reader {
	t.Helper()
	src, err := New(Options{Config: s.Config(), Node: node, LookEvery: 50 * time.Millisecond, Logger: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- src.Run(ctx, func(o *source.Objects, p []source.Problem) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.objects, r.problems = o, p
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

// has reports whether an object is there and holds.
func has[T any, P interface {
	*T
	metav1.Object
}](list []source.Object[T], key string, holds func(P) bool) bool {
	for _, o := range list {
		p := P(o.Value)
		if strings.TrimPrefix(p.GetNamespace()+"/"+p.GetName(), "/") == key {
			return holds == nil || holds(p)
		}
	}
	return false
}

func (r *reader) eventually(what string, ok func(*source.Objects, []source.Problem) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		r.mu.Lock()
		o, p := r.objects, r.problems
		r.mu.Unlock()
		if o != nil && ok(o, p) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never happened: %s; problems: %v", what, p)
		}
	}
}

func ourCRDs(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../../charts/weft/files/crds/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no resource definitions in the chart: %v", err)
	}
	return files
}

const (
	shopYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.dev/dataplane-mode: ambient}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop, annotations: {example.com/note: long}}
spec: {selector: {app: cart}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: hand, namespace: shop, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.1]}]
ports: [{port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: made, namespace: shop, labels: {endpointslice.kubernetes.io/managed-by: endpointslice-controller.k8s.io}}
addressType: IPv4
endpoints: [{addresses: [192.0.2.2]}]
ports: [{port: 80}]
`
	podYAML = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: shop, labels: {app: cart}, annotations: {example.com/note: long}}
spec:
  nodeName: NODE
  serviceAccountName: cart
  containers: [{name: app, image: app, env: [{name: A, value: b}], ports: [{name: http, containerPort: 8080}, {containerPort: 9000}]}]
`
	podStatusYAML = podYAML + `
status:
  phase: Running
  podIP: 10.1.0.9
  podIPs: [{ip: 10.1.0.9}]
  conditions: [{type: Ready, status: "True"}, {type: Initialized, status: "True"}]
`
	routeYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules: [{backendRefs: [{name: cart, port: PORT}]}]
`
	policyYAML = `
apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: cart, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  rules: [{from: [{source: {serviceAccounts: [CALLER]}}]}]
`
)

func pod(yaml, name, node string) string {
	return strings.NewReplacer("NAME", name, "NODE", node).Replace(yaml)
}

// A cluster is read whole, changes arrive, and what nobody uses is left out. The parts run in order on one
// server.
func TestReadsACluster(t *testing.T) {
	s := kubetest.Start(t)
	s.Apply(shopYAML, pod(podYAML, "cart-1", "n1"), pod(podYAML, "cart-2", "n2"))
	r := read(t, s, "")

	t.Run("before any resource is installed", func(t *testing.T) {
		r.eventually("the missing resources are told", func(o *source.Objects, p []source.Problem) bool {
			return len(p) == len(groups[0].kinds)+len(api.Resources) && strings.Contains(p[0].String(), "gatewayclasses.gateway.networking.k8s.io")
		})
		r.eventually("Kubernetes' own are there", func(o *source.Objects, _ []source.Problem) bool {
			return has(o.Namespaces, "shop", nil) && has(o.Nodes, "n1", nil) && has(o.Services, "shop/cart", nil) && len(o.Pods) == 2 &&
				has(o.EndpointSlices, "shop/hand", nil) && !has(o.EndpointSlices, "shop/made", nil)
		})
	})
	t.Run("pods are small", func(t *testing.T) { smallPods(t, r) })
	t.Run("a pod changes", func(t *testing.T) {
		s.Apply(strings.Replace(pod(podStatusYAML, "cart-1", "n1"), "annotations: {", "annotations: {weft.dev/redirection: enabled, ", 1))
		r.eventually("its address and announcement arrive", func(o *source.Objects, _ []source.Problem) bool {
			return has(o.Pods, "shop/cart-1", func(p *corev1.Pod) bool {
				return p.Status.PodIP == "10.1.0.9" && len(p.Status.Conditions) == 1 && p.Annotations[api.AnnotationRedirection] == api.RedirectionEnabled
			})
		})
	})
	t.Run("Gateway API comes", func(t *testing.T) {
		s.InstallGatewayAPI("standard")
		s.Apply(strings.Replace(routeYAML, "PORT", "80", 1))
		r.eventually("its route arrives", func(o *source.Objects, p []source.Problem) bool {
			return len(p) == len(api.Resources) && has(o.HTTPRoutes, "shop/cart", nil)
		})
	})
	t.Run("our resources come", func(t *testing.T) {
		s.InstallCRDs(ourCRDs(t)...)
		s.Apply(strings.Replace(policyYAML, "CALLER", "web", 1))
		r.eventually("the policy arrives", func(o *source.Objects, p []source.Problem) bool {
			return len(p) == 0 && has(o.AuthorizationPolicies, "shop/cart", nil) && o.AuthorizationPolicies[0].Origin.String() == "AuthorizationPolicy/shop/cart"
		})
	})
	t.Run("nothing happens", func(t *testing.T) { heartbeats(t, s, r) })
	t.Run("one node", func(t *testing.T) {
		one := read(t, s, "n2")
		one.eventually("its pods and the namespaces, nothing else", func(o *source.Objects, p []source.Problem) bool {
			return len(p) == 0 && has(o.Namespaces, "shop", nil) && len(o.Pods) == 1 && has(o.Pods, "shop/cart-2", nil) && len(o.Services)+len(o.Nodes) == 0
		})
	})
	t.Run("deletion", func(t *testing.T) {
		s.Delete(pod(podYAML, "cart-2", "n2"))
		r.eventually("the pod is gone", func(o *source.Objects, _ []source.Problem) bool { return len(o.Pods) == 1 })
	})
	t.Run("the server goes away", func(t *testing.T) { serverGone(t, s, r) })
}

func smallPods(t *testing.T, r *reader) {
	r.eventually("only what is used is kept", func(o *source.Objects, _ []source.Problem) bool {
		return has(o.Pods, "shop/cart-1", func(p *corev1.Pod) bool {
			c := p.Spec.Containers
			return p.Spec.NodeName == "n1" && p.Spec.ServiceAccountName == "cart" && len(p.Annotations) == 0 && p.ResourceVersion == "" && p.ManagedFields == nil &&
				len(c) == 1 && len(c[0].Env) == 0 && len(c[0].Ports) == 1 && c[0].Ports[0].Name == "http"
		})
	})
	r.eventually("so of services", func(o *source.Objects, _ []source.Problem) bool {
		return has(o.Services, "shop/cart", func(s *corev1.Service) bool { return len(s.Annotations) == 0 && s.Spec.ClusterIP != "" })
	})
}

// heartbeats: what changes nothing that is used leaves an object as it was handed out.
func heartbeats(t *testing.T, s *kubetest.Server, r *reader) {
	before := r.service("cart")
	s.Apply(strings.Replace(shopYAML, "note: long", "note: longer", 1))
	s.Apply("apiVersion: v1\nkind: Service\nmetadata: {name: after, namespace: shop}\nspec: {ports: [{port: 80}]}") // comes by the same way, later
	r.eventually("the next change", func(o *source.Objects, _ []source.Problem) bool { return has(o.Services, "shop/after", nil) })
	if after := r.service("cart"); before == nil || before != after {
		t.Error("a change of what nobody uses was handed over")
	}
}

// service is one of namespace shop as it was handed out last.
func (r *reader) service(name string) *corev1.Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.objects.Services {
		if s.Value.Namespace == "shop" && s.Value.Name == name {
			return s.Value
		}
	}
	return nil
}

func serverGone(t *testing.T, s *kubetest.Server, r *reader) {
	s.Stop()
	time.Sleep(2 * time.Second) // some of its retries, of which none may report an empty cluster
	r.mu.Lock()
	if o := r.objects; len(o.Pods) != 1 || len(o.AuthorizationPolicies) != 1 || len(o.HTTPRoutes) != 1 {
		t.Errorf("while the server was away objects were lost: %v", o.Counts())
	}
	r.mu.Unlock()
	s.Resume()
	s.WaitReady()
	s.Apply(pod(podYAML, "cart-3", "n1"), strings.Replace(policyYAML, "CALLER", "bank", 1))
	r.eventually("changes arrive again", func(o *source.Objects, _ []source.Problem) bool {
		return has(o.Pods, "shop/cart-3", nil) && len(o.Pods) == 2 && has(o.AuthorizationPolicies, "shop/cart", func(p *api.AuthorizationPolicy) bool {
			return p.Spec.Rules[0].From[0].Source.ServiceAccounts[0] == "bank"
		})
	})
}
