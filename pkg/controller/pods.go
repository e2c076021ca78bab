package controller

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// podInfo is a pod that is in the snapshot.
type podInfo struct {
	object   *corev1.Pod // nil: an endpoint that is no pod
	workload *model.Workload
	waypoint *model.Waypoint // before the workload itself; nil none
}

// name is namespace/name.
func (p *podInfo) name() string { return p.object.Namespace + "/" + p.object.Name }

// podIndex finds pods by label.
type podIndex struct {
	all     map[string][]*podInfo            // by namespace
	byLabel map[string]map[string][]*podInfo // by namespace and key=value
	byName  map[string]*podInfo              // by namespace/name
}

func newPodIndex() podIndex {
	return podIndex{all: map[string][]*podInfo{}, byLabel: map[string]map[string][]*podInfo{}, byName: map[string]*podInfo{}}
}

func (x *podIndex) add(p *podInfo) {
	ns := p.object.Namespace
	x.all[ns] = append(x.all[ns], p)
	x.byName[ns+"/"+p.object.Name] = p
	labels := x.byLabel[ns]
	if labels == nil {
		labels = map[string][]*podInfo{}
		x.byLabel[ns] = labels
	}
	for k, v := range p.object.Labels {
		labels[k+"="+v] = append(labels[k+"="+v], p)
	}
}

// everywhere lists all pods.
func (x *podIndex) everywhere() []*podInfo {
	out := make([]*podInfo, 0, len(x.byName))
	for _, list := range x.all {
		out = append(out, list...)
	}
	return out
}

// matching returns the pods of a namespace that carry all labels; all pods for none.
func (x *podIndex) matching(ns string, labels map[string]string) []*podInfo {
	if len(labels) == 0 {
		return x.all[ns]
	}
	var shortest []*podInfo
	first := true
	for k, v := range labels {
		if l := x.byLabel[ns][k+"="+v]; first || len(l) < len(shortest) {
			shortest, first = l, false
		}
	}
	if len(labels) == 1 {
		return shortest
	}
	var out []*podInfo
	for _, p := range shortest {
		if carries(p.object.Labels, labels) {
			out = append(out, p)
		}
	}
	return out
}

func carries(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

func sortUnique[T cmp.Ordered](list *[]T) {
	slices.Sort(*list)
	*list = slices.Compact(*list)
}
