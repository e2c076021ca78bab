package cli

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// judgeWorkloads applies the policies of the workloads that a waypoint would call, with the caller that only
// it knows. Each backend has its own verdict; refused is where any of its workloads refuses. It returns the
// endpoints of those that are not refused.
func (x *explainer) judgeWorkloads(h *hop, wp *model.Waypoint, backends [][]endpoint, req request) []endpoint {
	var reached []endpoint
	best, worst := refused, allowed
	for _, endpoints := range backends {
		v := x.judgeBackend(h, wp, endpoints, req)
		best, worst = min(best, v), max(worst, v)
		if v == refused {
			continue
		}
		for _, ep := range endpoints {
			if !slices.Contains(reached, ep) {
				reached = append(reached, ep)
			}
		}
	}
	switch {
	case len(backends) == 0:
	case best == worst:
		x.worsen(worst)
	default:
		x.worsen(depends)
	}
	return reached
}

func (x *explainer) judgeBackend(h *hop, wp *model.Waypoint, endpoints []endpoint, req request) verdict {
	result := allowed
	self := waypointIdentity(wp)
	var seen []policy.Layer
	for _, ep := range endpoints {
		l, ok := policy.WorkloadLayer(x.snap, ep.workload.UID, ep.port)
		if !ok || slices.ContainsFunc(seen, func(s policy.Layer) bool { return s.Port == l.Port && slices.Equal(s.Policies, l.Policies) }) {
			continue
		}
		seen = append(seen, l)
		on := hop{}
		v := x.decideL7(&on, l.Policies, l7Call{request: req, port: ep.port, self: &self})
		for _, line := range on.lines {
			h.say("%s", fmt.Sprintf("for pod %s port %d: %s", workloadName(ep.workload), ep.port, line))
		}
		result = max(result, v)
	}
	return result
}
