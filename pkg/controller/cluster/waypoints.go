package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// writeWaypoints applies what waypoints consist of and removes what no waypoint does any more.
func (w *Writer) writeWaypoints(ctx context.Context, want *Wanted) error {
	var failed first
	wanted := map[string]bool{}
	for _, p := range want.Waypoints {
		for _, o := range p.All() {
			u, err := unstructure(o)
			if err != nil {
				failed.add(err)
				continue
			}
			wanted[keyOf(u.GetKind(), u.GetNamespace(), u.GetName())] = true
			failed.add(w.applyWaypoint(ctx, u))
		}
	}
	failed.add(w.prune(ctx, wanted))
	return failed.err
}

// applyWaypoint applies one object, unless somebody else's is in its place.
func (w *Writer) applyWaypoint(ctx context.Context, u *unstructured.Unstructured) error {
	if w.done(u) {
		return nil
	}
	r, err := w.resource(u)
	if err != nil {
		return err
	}
	key := keyOf(u.GetKind(), u.GetNamespace(), u.GetName())
	there, err := r.Get(ctx, u.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("look for %s: %w", key, err)
	case !ours(there):
		if !w.foreign[key] {
			w.foreign[key] = true
			what := fmt.Sprintf("%s %s/%s is there already and was not made by Weft, so it is left alone: rename it, or the Gateway", u.GetKind(), u.GetNamespace(), u.GetName())
			w.o.Logger.Warn("waypoint not deployed: " + what)
			w.events.tell(gatewayOf(u), corev1.EventTypeWarning, "NameTaken", what)
		}
		return nil
	}
	delete(w.foreign, key)
	return w.apply(ctx, u)
}

// ours reports whether an object is one that we made for a Gateway.
func ours(u *unstructured.Unstructured) bool {
	return u.GetLabels()[deploy.LabelManagedBy] == deploy.ManagedBy && u.GetLabels()[api.LabelGatewayName] != ""
}

// gatewayOf is the Gateway that owns an object.
func gatewayOf(u *unstructured.Unstructured) *corev1.ObjectReference {
	ref := metav1.GetControllerOf(u)
	if ref == nil {
		return nil
	}
	return &corev1.ObjectReference{APIVersion: ref.APIVersion, Kind: ref.Kind, Namespace: u.GetNamespace(), Name: ref.Name, UID: ref.UID}
}

// prune removes objects of waypoints that are not wanted any more while their Gateway still is there: those
// of Gateways that are gone the API server removes by itself.
func (w *Writer) prune(ctx context.Context, wanted map[string]bool) error {
	now := strings.Join(slices.Sorted(maps.Keys(wanted)), " ") + "."
	if w.pruned == now {
		return nil
	}
	selector := metav1.ListOptions{LabelSelector: deploy.LabelManagedBy + "=" + deploy.ManagedBy + "," + api.LabelGatewayName}
	var failed first
	for _, kind := range []string{"HorizontalPodAutoscaler", "PodDisruptionBudget", "Deployment", "Service", "ServiceAccount"} {
		list, err := w.dynamic.Resource(resources[kind]).List(ctx, selector)
		if err != nil {
			failed.add(fmt.Errorf("look for what waypoints left: %w", err))
			continue
		}
		for _, u := range list.Items {
			key := keyOf(kind, u.GetNamespace(), u.GetName())
			if gw := gatewayOf(&u); wanted[key] || gw == nil || gw.Kind != "Gateway" {
				continue
			}
			failed.add(w.remove(ctx, kind, &u))
		}
	}
	if failed.err == nil {
		w.pruned = now
	}
	return failed.err
}

func (w *Writer) remove(ctx context.Context, kind string, u *unstructured.Unstructured) error {
	uid, background := u.GetUID(), metav1.DeletePropagationBackground
	w.metrics.writes.WithLabelValues(kind).Inc()
	err := w.dynamic.Resource(resources[kind]).Namespace(u.GetNamespace()).Delete(ctx, u.GetName(),
		metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove %s %s/%s: %w", kind, u.GetNamespace(), u.GetName(), err)
	}
	delete(w.applied, keyOf(kind, u.GetNamespace(), u.GetName()))
	w.o.Logger.Info("removed what a waypoint left", zap.String("kind", kind), zap.String("namespace", u.GetNamespace()), zap.String("name", u.GetName()))
	return nil
}
