package source

import (
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SameButPods reports whether two hold the same objects of all kinds but pods, written at the same places. Objects that
// were handed out are not changed, so the same pointer is the same object.
func (o *Objects) SameButPods(p *Objects) bool { return o.same(p, (*kind).identical) }

// SameSpecsButPods is SameButPods, where objects are also the same that differ in their status alone: what it says
// is what became of them.
func (o *Objects) SameSpecsButPods(p *Objects) bool { return o.same(p, (*kind).sameSpecs) }

func (o *Objects) same(p *Objects, same func(k *kind, a, b *Objects) bool) bool {
	for _, k := range kinds {
		if k.name != "Pod" && !same(k, o, p) {
			return false
		}
	}
	return slices.Equal(o.Unread, p.Unread)
}

func (k *kind) identical(a, b *Objects) bool { return k.same(a, b, false) }
func (k *kind) sameSpecs(a, b *Objects) bool { return k.same(a, b, true) }

// sameList compares lists of objects; but for their status where that does not matter.
func sameList[T any, P interface {
	*T
	metav1.Object
}](a, b []Object[T], statusAside bool) bool {
	return slices.EqualFunc(a, b, func(x, y Object[T]) bool {
		return x == y || statusAside && x.Origin == y.Origin && reflect.DeepEqual(withoutStatus[T, P](x.Value), withoutStatus[T, P](y.Value))
	})
}

// withoutStatus is a copy without what others write of an object.
func withoutStatus[T any, P interface {
	*T
	metav1.Object
}](v *T) *T {
	out := *v
	P(&out).SetResourceVersion("")
	P(&out).SetManagedFields(nil)
	if status := reflect.ValueOf(&out).Elem().FieldByName("Status"); status.IsValid() {
		status.SetZero()
	}
	return &out
}
