package source

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Edit puts an object in the place of the one of its name, or removes that.
type Edit struct {
	Namespace, Name string
	Object          metav1.Object // nil: there is none any more
	Origin          Origin
}

// Patch edits the list of a kind. It makes a new one: others may have the old. No two edits are of one object.
func (o *Objects) Patch(kind string, edits []Edit) {
	slices.SortFunc(edits, func(a, b Edit) int { return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) })
	for _, k := range kinds {
		if k.name == kind {
			k.patch(o, edits)
		}
	}
}

// Take appends what another has. A list that o has nothing of is shared.
func (o *Objects) Take(p *Objects) {
	for _, k := range kinds {
		k.take(o, p)
	}
	o.Unread = joined(o.Unread, p.Unread)
}

func joined[T any](a, b []T) []T {
	if len(a) == 0 {
		return b
	}
	return slices.Concat(a, b)
}

// patched is a sorted list with sorted edits.
func patched[T any, P interface {
	*T
	metav1.Object
}](list []Object[T], edits []Edit) []Object[T] {
	out := make([]Object[T], 0, len(list)+len(edits))
	for _, e := range edits {
		at, found := slices.BinarySearchFunc(list, e, func(o Object[T], e Edit) int {
			return cmp.Or(cmp.Compare(P(o.Value).GetNamespace(), e.Namespace), cmp.Compare(P(o.Value).GetName(), e.Name))
		})
		out = append(out, list[:at]...)
		if list = list[at:]; found {
			list = list[1:]
		}
		if e.Object != nil {
			out = append(out, Object[T]{Origin: e.Origin, Value: (*T)(e.Object.(P))})
		}
	}
	if out = append(out, list...); len(out) == 0 {
		return nil
	}
	return out
}
