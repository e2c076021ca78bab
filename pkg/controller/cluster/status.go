package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/source"
)

// atOnce is how many statuses are under way to the API server together.
const atOnce = 8

// writeStatus writes the status of every object of which it is not yet as it should be, and tells of what has
// become wrong with it.
func (w *Writer) writeStatus(ctx context.Context, want *Wanted) error {
	reports := make(map[string]*Report, len(want.Reports))
	for i := range want.Reports {
		r := &want.Reports[i]
		reports[r.Key()] = r
	}
	var writes errgroup.Group // all are tried; Wait gives the first error
	writes.SetLimit(atOnce)
	each(want.Objects, func(kind string, o metav1.Object) {
		if subjectOf(kind) == nil || ctx.Err() != nil {
			return
		}
		r := reports[keyOf(kind, o.GetNamespace(), o.GetName())]
		now, next := subjectOf(kind)(o, r)
		if next == nil || same(now, next) {
			return
		}
		writes.Go(func() error { return w.applyStatus(ctx, kind, o, now, next) })
	})
	err := writes.Wait()
	w.tellProblems(want)
	return err
}

// each visits every object, also the policies of which only the target is known.
func each(objs *source.Objects, visit func(kind string, o metav1.Object)) {
	objs.Each(func(kind string, o metav1.Object, _ source.Origin) { visit(kind, o) })
	for _, u := range objs.Unread {
		visit(u.Kind(), u.Object())
	}
}

// same compares what is ours; points in time are the same wherever they were written.
func same(a, b *status) bool {
	return equality.Semantic.DeepEqual(a.Conditions, b.Conditions) && equality.Semantic.DeepEqual(a.Addresses, b.Addresses) &&
		equality.Semantic.DeepEqual(a.Listeners, b.Listeners) && equality.Semantic.DeepEqual(a.SupportedFeatures, b.SupportedFeatures) &&
		equality.Semantic.DeepEqual(a.Parents, b.Parents)
}

// applyStatus writes one status. An object that is gone, or another of the same name, has none.
func (w *Writer) applyStatus(ctx context.Context, kind string, o metav1.Object, now, next *status) error {
	gvk := kindOf(kind, o)
	c := w.dynamic.Resource(gvk.GroupVersion().WithResource(statusResource(kind))).Namespace(o.GetNamespace())
	if next.Parents != nil {
		err := withOthers(ctx, c, o, next)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("status of %s %s/%s: %w", kind, o.GetNamespace(), o.GetName(), err)
		}
	}
	u, err := next.object(gvk, o)
	if err != nil {
		return err
	}
	w.metrics.writes.WithLabelValues(kind + "/status").Inc()
	_, err = c.ApplyStatus(ctx, o.GetName(), u, forced)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) && next.version == "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("status of %s %s/%s: %w", kind, o.GetNamespace(), o.GetName(), err)
	}
	about := &corev1.ObjectReference{APIVersion: gvk.GroupVersion().String(), Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID()}
	for _, c := range next.worseThan(now) {
		w.events.tell(about, corev1.EventTypeWarning, c.Reason, "not "+c.Type+": "+c.Message)
	}
	return nil
}

// kindOf is what the API server calls an object: in the version it was read in.
func kindOf(kind string, o metav1.Object) schema.GroupVersionKind {
	if r, ok := o.(runtime.Object); ok {
		if gvk := r.GetObjectKind().GroupVersionKind(); gvk.Kind != "" {
			return gvk
		}
	}
	switch o.(type) {
	case *api.AuthorizationPolicy, *api.PeerAuthentication:
		return api.GroupVersion.WithKind(kind)
	}
	return corev1.SchemeGroupVersion.WithKind(kind)
}

// object is what is sent.
func (s *status) object(gvk schema.GroupVersionKind, o metav1.Object) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode status of %s: %w", o.GetName(), err)
	}
	var content map[string]any
	if err := json.Unmarshal(data, &content); err != nil {
		return nil, fmt.Errorf("encode status of %s: %w", o.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{"status": content}}
	u.SetGroupVersionKind(gvk)
	u.SetName(o.GetName())
	u.SetNamespace(o.GetNamespace())
	u.SetUID(o.GetUID()) // not to be given to another object of the same name
	u.SetResourceVersion(s.version)
	return u, nil
}

// withOthers adds the parents that other controllers answer for: a route's parents are one list, which is
// written whole. The version is that of the list: a change of it meanwhile is a conflict, and tried again.
func withOthers(ctx context.Context, c dynamic.ResourceInterface, o metav1.Object, next *status) error {
	u, err := c.Get(ctx, o.GetName(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	for _, p := range all {
		if m, ok := p.(map[string]any); ok && m["controllerName"] != api.MeshController {
			next.others = append(next.others, m)
		}
	}
	next.version = u.GetResourceVersion()
	return nil
}

// tellProblems tells of objects that could not be used as they are written; once for each.
func (w *Writer) tellProblems(want *Wanted) {
	now := map[string]bool{}
	for i := range want.Reports {
		r := &want.Reports[i]
		for _, p := range r.Problems {
			if p.Severity != source.Error || !strings.HasPrefix(p.File, r.Kind+"/") || p.Name == "" || !p.LastGood {
				continue
			}
			key := r.Key() + "\x00" + p.String()
			now[key] = true
			if !w.told[key] {
				w.events.tell(w.about(want, r), corev1.EventTypeWarning, "NotUnderstood", p.String())
			}
		}
	}
	w.told = now
}

func (w *Writer) about(want *Wanted, r *Report) *corev1.ObjectReference {
	var out *corev1.ObjectReference
	each(want.Objects, func(kind string, o metav1.Object) {
		if out == nil && kind == r.Kind && o.GetNamespace() == r.Namespace && o.GetName() == r.Name {
			gvk := kindOf(kind, o)
			out = &corev1.ObjectReference{APIVersion: gvk.GroupVersion().String(), Kind: kind, Namespace: r.Namespace, Name: r.Name, UID: o.GetUID()}
		}
	})
	return out
}

// worseThan lists the conditions that are false and were not so before.
func (s *status) worseThan(before *status) []metav1.Condition {
	var out []metav1.Condition
	known := before.all()
	for _, c := range s.all() {
		if c.Status != metav1.ConditionFalse {
			continue
		}
		if !slices.ContainsFunc(known, func(d metav1.Condition) bool {
			return d.Type == c.Type && d.Status == c.Status && d.Reason == c.Reason && d.Message == c.Message
		}) {
			out = append(out, c)
		}
	}
	return out
}
