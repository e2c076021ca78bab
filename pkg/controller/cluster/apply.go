package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

var forced = metav1.ApplyOptions{FieldManager: Manager, Force: true}

// Resources that are written, by kind.
var resources = map[string]schema.GroupVersionResource{
	"ConfigMap":               {Version: "v1", Resource: "configmaps"},
	"ServiceAccount":          {Version: "v1", Resource: "serviceaccounts"},
	"Service":                 {Version: "v1", Resource: "services"},
	"Deployment":              {Group: "apps", Version: "v1", Resource: "deployments"},
	"HorizontalPodAutoscaler": {Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"},
	"PodDisruptionBudget":     {Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"},
}

// unstructure makes what is sent of a typed object; without what only the API server says.
func unstructure(o runtime.Object) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", o, err)
	}
	delete(m, "status")
	u := &unstructured.Unstructured{Object: m}
	unstructured.RemoveNestedField(m, "metadata", "creationTimestamp")
	unstructured.RemoveNestedField(m, "spec", "template", "metadata", "creationTimestamp")
	return u, nil
}

// resource of an object that is written.
func (w *Writer) resource(u *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	r, ok := resources[u.GetKind()]
	if !ok {
		return nil, fmt.Errorf("kind %s is not one that is written", u.GetKind())
	}
	return w.dynamic.Resource(r).Namespace(u.GetNamespace()), nil
}

// apply writes an object unless this replica wrote the same before.
func (w *Writer) apply(ctx context.Context, u *unstructured.Unstructured) error {
	key, text, err := keyAndText(u)
	if err != nil || w.applied[key] == text {
		return err
	}
	r, err := w.resource(u)
	if err != nil {
		return err
	}
	w.metrics.writes.WithLabelValues(u.GetKind()).Inc()
	if _, err := r.Apply(ctx, u.GetName(), u, forced); err != nil {
		return fmt.Errorf("apply %s: %w", key, err)
	}
	w.applied[key] = text
	return nil
}

// done reports whether this replica wrote exactly this before.
func (w *Writer) done(u *unstructured.Unstructured) bool {
	key, text, err := keyAndText(u)
	return err == nil && w.applied[key] == text
}

func keyAndText(u *unstructured.Unstructured) (key, text string, err error) {
	data, err := json.Marshal(u.Object)
	if err != nil {
		return "", "", fmt.Errorf("encode %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return keyOf(u.GetKind(), u.GetNamespace(), u.GetName()), string(data), nil
}

func keyOf(kind, namespace, name string) string { return kind + "/" + namespace + "/" + name }
