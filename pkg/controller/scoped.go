package controller

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
)

// scoped finds what concerns a pod, by its namespace and labels. The zero value is empty.
type scoped[T any] struct {
	mesh       []T
	namespaces map[string][]T
	selecting  map[string]map[string][]selecting[T] // by namespace, and one label of the selector
}

type selecting[T any] struct {
	labels map[string]string
	what   T
}

// add puts what concerns all pods of a scope. A selector without labels takes the whole namespace.
func (s *scoped[T]) add(scope model.PolicyScope, namespace string, labels map[string]string, what T) {
	switch {
	case scope == model.ScopeMesh:
		s.mesh = append(s.mesh, what)
	case scope == model.ScopeNamespace || len(labels) == 0:
		if s.namespaces == nil {
			s.namespaces = map[string][]T{}
		}
		s.namespaces[namespace] = append(s.namespaces[namespace], what)
	default:
		if s.selecting == nil {
			s.selecting = map[string]map[string][]selecting[T]{}
		}
		if s.selecting[namespace] == nil {
			s.selecting[namespace] = map[string][]selecting[T]{}
		}
		k := slices.Min(slices.Collect(maps.Keys(labels)))
		label := k + "=" + labels[k]
		s.selecting[namespace][label] = append(s.selecting[namespace][label], selecting[T]{labels, what})
	}
}

// of lists what concerns a pod.
func (s *scoped[T]) of(namespace string, labels map[string]string) []T {
	out := slices.Concat(s.mesh, s.namespaces[namespace])
	in := s.selecting[namespace]
	if len(in) == 0 {
		return out
	}
	for k, v := range labels {
		for _, sel := range in[k+"="+v] {
			if carries(labels, sel.labels) {
				out = append(out, sel.what)
			}
		}
	}
	return out
}
