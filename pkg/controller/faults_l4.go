package controller

import (
	"strings"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// faultConnections gives a service the rules of a fault that act on connections. The callers' ztunnels carry them
// out, whether there is a waypoint or not.
func faultConnections(f *api.Fault, s *model.Service) {
	for i := range f.Spec.Rules {
		if r := &f.Spec.Rules[i]; r.Connection != nil {
			s.Faults = append(s.Faults, connFault(f, r))
		}
	}
}

func connFault(f *api.Fault, r *api.FaultRule) model.ConnFault {
	out := model.ConnFault{Name: f.Namespace + "/" + f.Name, From: faultCallers(f.Namespace, r.From)}
	if end := f.End(); !end.IsZero() {
		out.Until = end.UTC()
	}
	c := r.Connection
	if c.Delay != nil {
		out.DelayPercent, out.Delay = c.Delay.Percentage, c.Delay.Duration.Duration
	}
	if c.Refuse != nil {
		out.RefusePercent = c.Refuse.Percentage
	}
	if c.Reset != nil {
		out.ResetPercent = c.Reset.Percentage
		if c.Reset.AfterBytes != nil {
			out.ResetAfter = c.Reset.AfterBytes.Value()
		}
	}
	if b := c.Bandwidth; b != nil {
		out.BandwidthPercent, out.Bandwidth = 100, b.Limit.Value()
		if b.Percentage != nil {
			out.BandwidthPercent = *b.Percentage
		}
	}
	return out
}

// faultCallers reads whom a fault of a namespace is meant for.
func faultCallers(namespace string, in []api.FaultSource) []model.CallerMatch {
	var out []model.CallerMatch
	for _, s := range in {
		m := model.CallerMatch{Namespaces: s.Namespaces}
		for _, a := range s.ServiceAccounts {
			ns, name, ok := strings.Cut(a, "/")
			if !ok {
				ns, name = namespace, a
			}
			m.ServiceAccounts = append(m.ServiceAccounts, model.ServiceAccountMatch{Namespace: ns, ServiceAccount: name})
		}
		out = append(out, m)
	}
	return out
}

// faultTargets tells what a fault acts on: requests, which takes a waypoint, connections, or both.
func faultTargets(f *api.Fault) (requests, connections bool) {
	for _, r := range f.Spec.Rules {
		requests, connections = requests || r.Connection == nil, connections || r.Connection != nil
	}
	return requests, connections
}
