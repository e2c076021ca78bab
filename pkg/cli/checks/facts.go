package checks

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/cli/cluster"
	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
)

// Options of Gather.
type Options struct {
	Cluster *cluster.Cluster
	// Get reads a page of a program; nil: programs are not asked.
	Get func(ctx context.Context, p *cluster.Program, path string) ([]byte, error)
	// Rights asks which rights this person has; only an install needs to know.
	Rights bool
	// Now is the moment by which certificates are judged; the zero time is the real one.
	Now time.Time
}

// Facts are what is known of a cluster. A list whose reading failed is empty, and Errors says why.
type Facts struct {
	Now         time.Time
	Unreachable error
	Version     *version.Info
	Errors      map[string]error // by what was to be read

	Namespaces  []*corev1.Namespace
	Pods        []*corev1.Pod
	Nodes       []*corev1.Node
	DaemonSets  []*appsv1.DaemonSet
	Deployments []*appsv1.Deployment
	Policies    []*networkingv1.NetworkPolicy
	Faults      []*api.Fault
	Settings    map[string]map[string]string // ConfigMaps that say how a network plugin works, by namespace/name
	CRDs        map[string]*unstructured.Unstructured
	Lease       *coordinationv1.Lease
	Root        string   // PEM of the mesh's roots
	Denied      []string // rights that are missing for an install

	Programs     []*cluster.Program
	Silent       map[string]error // programs that did not answer, by name
	Versions     map[string]string
	Kernels      map[string][]Feature     // by node, as its agent reports
	Captured     map[string][]enroll.View // by node, as its agent reports
	Certificates map[string][]ca.Status   // by node, as its ztunnel reports
	Problems     []Problem                // that the controller reports
}

// Feature is what an agent reports of its kernel.
type Feature struct {
	Name     string `json:"name"`
	Have     bool   `json:"have"`
	Required bool   `json:"required"`
	Need     string `json:"need"`
	Why      string `json:"why"`
}

// Problem is an object of the controller's page /debug/status that is not in force as written.
type Problem struct {
	Kind       string             `json:"kind"`
	Namespace  string             `json:"namespace"`
	Name       string             `json:"name"`
	Conditions []metav1.Condition `json:"conditions"`
	Problems   []source.Problem   `json:"problems"`
}

// pluginSettings are the ConfigMaps that are looked at.
var pluginSettings = []string{"kube-system/cilium-config", "kube-system/calico-config", "kube-flannel/kube-flannel-cfg"}

var crdResource = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// Gather asks the cluster and the mesh's programs. It does not fail: what could not be had is in Errors.
func Gather(ctx context.Context, o Options) *Facts {
	f := &Facts{
		Now: o.Now, Errors: map[string]error{}, Settings: map[string]map[string]string{}, CRDs: map[string]*unstructured.Unstructured{}, Silent: map[string]error{},
		Versions: map[string]string{}, Kernels: map[string][]Feature{}, Captured: map[string][]enroll.View{}, Certificates: map[string][]ca.Status{},
	}
	if f.Now.IsZero() {
		f.Now = time.Now()
	}
	if f.Version, f.Unreachable = o.Cluster.Client.Discovery().ServerVersion(); f.Unreachable != nil {
		return f
	}
	f.lists(ctx, o.Cluster)
	f.faults(ctx, o.Cluster)
	f.settings(ctx, o.Cluster)
	if o.Rights {
		f.rights(ctx, o.Cluster)
	}
	var err error
	if f.Programs, err = o.Cluster.Programs(ctx); err != nil {
		f.Errors["programs"] = err
	}
	if o.Get != nil {
		f.ask(ctx, o)
	}
	return f
}

// lists reads objects from the API server's cache.
func (f *Facts) lists(ctx context.Context, c *cluster.Cluster) {
	cached, client := metav1.ListOptions{ResourceVersion: "0"}, c.Client
	f.Namespaces = list(f, "namespaces", func() ([]corev1.Namespace, error) {
		l, err := client.CoreV1().Namespaces().List(ctx, cached)
		return l.Items, err
	})
	f.Pods = list(f, "pods", func() ([]corev1.Pod, error) {
		l, err := client.CoreV1().Pods("").List(ctx, cached)
		return l.Items, err
	})
	f.Nodes = list(f, "nodes", func() ([]corev1.Node, error) {
		l, err := client.CoreV1().Nodes().List(ctx, cached)
		return l.Items, err
	})
	f.DaemonSets = list(f, "daemonsets", func() ([]appsv1.DaemonSet, error) {
		l, err := client.AppsV1().DaemonSets("").List(ctx, cached)
		return l.Items, err
	})
	f.Deployments = list(f, "deployments", func() ([]appsv1.Deployment, error) {
		l, err := client.AppsV1().Deployments("").List(ctx, cached)
		return l.Items, err
	})
	f.Policies = list(f, "networkpolicies", func() ([]networkingv1.NetworkPolicy, error) {
		l, err := client.NetworkingV1().NetworkPolicies("").List(ctx, cached)
		return l.Items, err
	})
	for _, crd := range list(f, "customresourcedefinitions", func() ([]unstructured.Unstructured, error) {
		l, err := c.Dynamic.Resource(crdResource).List(ctx, cached)
		if err != nil {
			return nil, err
		}
		return l.Items, nil
	}) {
		f.CRDs[crd.GetName()] = crd
	}
}

// list notes why nothing could be read.
func list[T any](f *Facts, what string, read func() ([]T, error)) []*T {
	items, err := read()
	if err != nil {
		f.Errors[what] = err
		return nil
	}
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}

// settings reads single objects; that there is none is no error.
func (f *Facts) settings(ctx context.Context, c *cluster.Cluster) {
	for _, key := range pluginSettings {
		namespace, name, _ := cut(key)
		if m, err := c.Client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{}); err == nil {
			f.Settings[key] = m.Data
		}
	}
	if m, err := c.Client.CoreV1().ConfigMaps(api.SystemNamespace).Get(ctx, "weft-root", metav1.GetOptions{}); err == nil {
		f.Root = m.Data["root-cert.pem"]
	}
	if l, err := c.Client.CoordinationV1().Leases(api.SystemNamespace).Get(ctx, cluster.Controller, metav1.GetOptions{}); err == nil {
		f.Lease = l
	}
}

// ask reads the programs' pages, some at a time.
func (f *Facts) ask(ctx context.Context, o Options) {
	leader := o.Cluster.Leader(ctx, f.Programs)
	type answer struct {
		p    *cluster.Program
		path string
		into func([]byte) error
		err  error
	}
	var all []*answer
	for _, p := range f.Programs {
		if p.Kind == api.WaypointClass || !p.Ready {
			continue
		}
		all = append(all, &answer{p: p, path: "/version", into: func(b []byte) error {
			var v struct{ Version string }
			err := json.Unmarshal(b, &v)
			f.Versions[p.Name()] = v.Version
			return err
		}})
		switch {
		case p.Kind == cluster.Agent:
			all = append(all, &answer{p: p, path: "/debug", into: func(b []byte) error {
				var v struct{ Kernel []Feature }
				err := json.Unmarshal(b, &v)
				f.Kernels[p.Node] = v.Kernel
				return err
			}}, &answer{p: p, path: "/pods", into: func(b []byte) error {
				var v []enroll.View
				err := json.Unmarshal(b, &v)
				f.Captured[p.Node] = v
				return err
			}})
		case p.Kind == cluster.Ztunnel:
			all = append(all, &answer{p: p, path: "/certificates", into: func(b []byte) error {
				var v []ca.Status
				err := json.Unmarshal(b, &v)
				f.Certificates[p.Node] = append(f.Certificates[p.Node], v...)
				return err
			}})
		case p == leader:
			all = append(all, &answer{p: p, path: "/debug/status", into: func(b []byte) error { return json.Unmarshal(b, &f.Problems) }})
		}
	}
	bodies := make([][]byte, len(all))
	var g errgroup.Group
	g.SetLimit(16)
	for i, a := range all {
		g.Go(func() error {
			bodies[i], a.err = o.Get(ctx, a.p, a.path)
			return nil
		})
	}
	_ = g.Wait()
	for i, a := range all {
		if a.err == nil {
			a.err = a.into(bodies[i])
		}
		if a.err != nil && f.Silent[a.p.Name()] == nil {
			f.Silent[a.p.Name()] = a.err
		}
	}
}

// namespace finds one by name.
func (f *Facts) namespace(name string) *corev1.Namespace {
	if i := slices.IndexFunc(f.Namespaces, func(n *corev1.Namespace) bool { return n.Name == name }); i >= 0 {
		return f.Namespaces[i]
	}
	return nil
}
