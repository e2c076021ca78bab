package kube

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"time"

	"go.uber.org/zap"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// client lists and watches objects of one kind.
type client[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// builtin are the kinds that every API server has.
func (s *Source) builtin() []*store {
	core := s.clients.CoreV1()
	all := func(*metav1.ListOptions) {}
	pods, trim := all, trimPod
	if s.o.Node != "" {
		trim = trimOwnPod
		pods = func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", s.o.Node).String()
		}
	}
	out := []*store{
		newStore(s, "Namespace", trimNamespace, core.Namespaces(), all),
		newStore(s, "Pod", trim, core.Pods(metav1.NamespaceAll), pods),
	}
	if s.o.Node != "" {
		return out
	}
	// The slices that Kubernetes makes from selectors say nothing that the pods do not.
	slices := func(o *metav1.ListOptions) {
		o.LabelSelector = discoveryv1.LabelManagedBy + "!=endpointslice-controller.k8s.io"
	}
	maps := newStore(s, "ConfigMap", trimConfigMap, core.ConfigMaps(metav1.NamespaceAll), func(o *metav1.ListOptions) { o.LabelSelector = api.LabelWaypointParameters })
	maps.optional = true // what they say concerns comfort, so it is not worth waiting for the right to read them
	data := newStore(s, "ConfigMap", trimConfigMap, core.ConfigMaps(metav1.NamespaceAll), func(o *metav1.ListOptions) {
		o.LabelSelector = api.LabelFilterData + ",!" + api.LabelWaypointParameters
	})
	return append(out, maps, data,
		newStore(s, "Node", trimNode, core.Nodes(), all),
		newStore(s, "Service", trimService, core.Services(metav1.NamespaceAll), all),
		newStore(s, "EndpointSlice", trimSlice, s.clients.DiscoveryV1().EndpointSlices(metav1.NamespaceAll), slices),
	)
}

// custom reads the kind of a resource.
func (s *Source) custom(kind string, r schema.GroupVersionResource) *store {
	out := newStore(s, kind, trimCustom, lister{s, r}, func(*metav1.ListOptions) {})
	out.decode = decode
	return out
}

func newStore[L runtime.Object](s *Source, kind string, trim func(metav1.Object) metav1.Object, c client[L], narrow func(*metav1.ListOptions)) *store {
	n := &notice{kind: kind, log: s.o.Logger}
	return &store{kind: kind, trim: trim, changed: s.touch, log: s.o.Logger, all: map[string]entry{}, lists: &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			narrow(&o)
			list, err := c.List(ctx, o)
			n.told(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			narrow(&o)
			w, err := c.Watch(ctx, o)
			n.told(ctx, err)
			return w, err
		},
	}}
}

// lister is a client of any resource.
type lister struct {
	s *Source
	r schema.GroupVersionResource
}

func (l lister) List(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
	return l.s.dynamic.Resource(l.r).List(ctx, o)
}

func (l lister) Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	return l.s.dynamic.Resource(l.r).Watch(ctx, o)
}

// decode reads an object strictly, but for its status, which others write too and a later version may have
// more of.
func decode(at string, o metav1.Object) source.Reading {
	u := o.(*unstructured.Unstructured)
	written := maps.Clone(u.Object)
	delete(written, "status")
	data, err := json.Marshal(written)
	if err != nil {
		return source.Reading{Problems: []source.Problem{{Severity: source.Error, File: at, Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(), Message: err.Error()}}}
	}
	out := source.Read(at, data)
	status, has := u.Object["status"].(map[string]any)
	made := out.Object
	if out.Unread != nil {
		made = out.Unread.Object()
		made.SetUID(o.GetUID())
		made.SetGeneration(o.GetGeneration())
	}
	if made == nil || !has {
		return out
	}
	if field := reflect.ValueOf(made).Elem().FieldByName("Status"); field.IsValid() {
		_ = runtime.DefaultUnstructuredConverter.FromUnstructured(status, field.Addr().Interface()) // as much as is understood
	}
	return out
}

// again is how often a failure that lasts is told.
const again = time.Minute

// notice tells of failures to read a kind, and of their end. One goroutine uses it.
type notice struct {
	kind  string
	log   *zap.Logger
	since time.Time // of the failure
	last  time.Time // told
}

func (n *notice) told(ctx context.Context, err error) {
	now := time.Now()
	switch {
	case ctx.Err() != nil:
	case err == nil && !n.since.IsZero():
		n.log.Info("reading again from the API server", zap.String("kind", n.kind), zap.Duration("after", now.Sub(n.since)))
		n.since, n.last = time.Time{}, time.Time{}
	case err != nil:
		if n.since.IsZero() {
			n.since = now
		}
		if now.Sub(n.last) >= again {
			n.last = now
			n.log.Warn("cannot read from the API server, what was read last stays in force: "+hint(err), zap.String("kind", n.kind), zap.Duration("since", now.Sub(n.since)), zap.Error(err))
		}
	}
}
