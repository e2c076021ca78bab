package isolate

import (
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// untried names the patches that no Envoy has accepted as they are: the waypoint's launcher tries each before it is
// served. With the lock held.
func (i *Isolator) untried() []translate.Problem {
	var out []translate.Problem
	for _, src := range i.m.sources("") {
		if src.Kind != translate.KindPatch {
			continue
		}
		if _, held := i.m.held[src]; held || find(i.m.desired, src).equal(i.m.good.of(src)) {
			continue
		}
		switch {
		case i.o.Connected():
			out = append(out, translate.Problem{Source: src, Waiting: true, Message: "not in force yet: the waypoint tries it with an Envoy of its own first"})
		case !ready(i.m.desired, i.o.Waypoint):
			out = append(out, translate.Problem{Source: src, Waiting: true, Message: "not in force: the waypoint has no pod that is ready, and is to try it with an Envoy of its own first"})
		} // else its pods are with another replica of the controller, which knows
	}
	return out
}

// ready reports whether the waypoint has a pod that serves.
func ready(s *model.Snapshot, waypoint string) bool {
	wp := s.Waypoints[waypoint]
	if wp == nil {
		return false
	}
	service := wp.Namespace + "/" + wp.Hostname
	for _, w := range s.Workloads.All() {
		if w.Services[service] != nil && !w.Unhealthy {
			return true
		}
	}
	return false
}
