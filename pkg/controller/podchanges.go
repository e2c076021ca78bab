package controller

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/source"
)

// podChange is a pod before and after; nil where it is not there.
type podChange struct{ old, now *corev1.Pod }

// manyPods is how many pods may change before all are compiled at once: more than one in so many.
const (
	fewPods  = 256
	manyPods = 8
)

// podsBetween lists the pods that differ between two lists, both sorted by namespace and name. Pods are not changed in
// place, so the same pointer is the same pod. False: they are too many, or a list is not in order.
func podsBetween(old, now []source.Object[corev1.Pod]) ([]podChange, bool) {
	limit := max(fewPods, len(old)/manyPods)
	var out []podChange
	seen := map[string]bool{}
	for len(old)+len(now) > 0 {
		if len(old) > 0 && len(now) > 0 && old[0].Value == now[0].Value {
			old, now = old[1:], now[1:]
			continue
		}
		var p podChange
		order := 0
		switch {
		case len(old) == 0:
			order = 1
		case len(now) == 0:
			order = -1
		default:
			a, b := old[0].Value, now[0].Value
			order = cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		}
		if order <= 0 {
			p.old, old = old[0].Value, old[1:]
		}
		if order >= 0 {
			p.now, now = now[0].Value, now[1:]
		}
		name := p.name()
		if seen[name] || len(out) == limit {
			return nil, false
		}
		seen[name] = true
		out = append(out, p)
	}
	return out, true
}

func (p podChange) name() string {
	if p.old != nil {
		return p.old.Namespace + "/" + p.old.Name
	}
	return p.now.Namespace + "/" + p.now.Name
}
