package cluster

import (
	"context"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/waypoint/deploy"
)

// RootConfigMap and RootKey say where proxies find the mesh's roots.
const (
	RootConfigMap = deploy.RootConfigMap
	RootKey       = "root-cert.pem"
)

// rootsChanged reports whether the roots are others than those that were written last.
func (w *Writer) rootsChanged() bool {
	u, err := unstructure(w.rootsOf(w.o.Namespace, nil))
	return err == nil && !w.done(u)
}

func (w *Writer) rootsOf(namespace string, owners []metav1.OwnerReference) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: RootConfigMap, Labels: map[string]string{deploy.LabelManagedBy: deploy.ManagedBy}, OwnerReferences: owners},
		Data:       map[string]string{RootKey: string(w.o.Roots())},
	}
}

// writeRoots puts the mesh's roots into our namespace and, for the waypoints' pods, into theirs, where it goes
// with the last Gateway.
func (w *Writer) writeRoots(ctx context.Context, want *Wanted) error {
	owners := map[string][]metav1.OwnerReference{w.o.Namespace: nil}
	for _, p := range want.Waypoints {
		ns := p.Deployment.Namespace
		if ns == w.o.Namespace {
			continue // it stays when the Gateway goes
		}
		for _, ref := range p.Deployment.OwnerReferences {
			ref.Controller = nil // of several, none is it
			owners[ns] = append(owners[ns], ref)
		}
	}
	var failed first
	for _, ns := range slices.Sorted(maps.Keys(owners)) {
		u, err := unstructure(w.rootsOf(ns, owners[ns]))
		if err == nil {
			err = w.apply(ctx, u)
		}
		failed.add(err)
	}
	return failed.err
}
