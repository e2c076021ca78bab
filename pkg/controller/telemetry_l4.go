package controller

import (
	"cmp"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// sampling is of how many connections ztunnels begin a trace: of each target what its Telemetry says, the narrowest that
// says something counts.
type sampling struct {
	targets map[model.Target]*float64
	wide    map[string]*float64 // by namespace; of the system's: of the mesh
}

func newSampling() sampling {
	return sampling{targets: map[model.Target]*float64{}, wide: map[string]*float64{}}
}

func (s sampling) attach(t model.Target, of *model.Telemetry) {
	if of.Samples() {
		s.targets[t] = of.Tracing.Connections
	}
}

// spread is what a Telemetry without targets says; the oldest comes first.
func (s sampling) spread(namespace string, of *model.Telemetry) {
	if of.Samples() && s.wide[namespace] == nil {
		s.wide[namespace] = of.Tracing.Connections
	}
}

// finish tells the services. One that has a waypoint is sampled as its requests are: by its Gateway's, then by that
// one's namespace's.
func (s sampling) finish(services map[string]*serviceInfo) {
	for _, info := range services {
		namespace, gateway := info.object.Namespace, (*float64)(nil)
		if w := info.waypoint(); w != nil {
			namespace, gateway = w.Namespace, s.targets[model.Target{Waypoint: w.Key()}]
		}
		t := model.Target{Service: info.model.Key()}
		if p := cmp.Or(s.targets[t], gateway, s.wide[namespace], s.wide[api.SystemNamespace]); p != nil {
			info.model.Samples = append(info.model.Samples, model.Sample{Percentage: *p})
		}
		for _, port := range info.model.Ports {
			t.Port = port.ServicePort
			if p := s.targets[t]; p != nil {
				info.model.Samples = append(info.model.Samples, model.Sample{Port: t.Port, Percentage: *p})
			}
		}
	}
}

// sampledOnly says in the status that ztunnels sample by a Telemetry of what no waypoint serves, and what of it does nothing.
func sampledOnly(st *Status, path, target string, t *model.Telemetry, why string) {
	var idle []string
	for _, part := range []struct {
		there bool
		field string
	}{
		{t.AccessLog != nil, "accessLog"}, {t.Metrics != nil, "metrics"},
		{t.Tracing.Collector != nil, "tracing.collector"}, {len(t.Tracing.Tags) > 0, "tracing.tags"},
	} {
		if part.there {
			idle = append(idle, part.field)
		}
	}
	if len(idle) == 0 {
		st.set(conditionEnforced, true, "Enforced", "for connections to %s by ztunnels that have a collector", target)
		return
	}
	what := strings.Join(idle, ", ")
	st.set(conditionEnforced, false, reasonNoWaypoint, "for connections to %s by ztunnels that have a collector, all but %s: %s", target, what, why)
	st.warn(path, what+" of it does nothing for "+target+": "+why,
		"make a Gateway of class "+api.WaypointClass+" and label the Service or its namespace "+api.LabelUseWaypoint+": <gateway>, or leave these fields out")
}
