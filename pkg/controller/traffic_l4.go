package controller

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// byZtunnel are the TrafficPolicies of services that ask for no waypoint, by port (0: the service as a whole):
// the ztunnels of their callers carry out what of them concerns connections.
type byZtunnel map[*serviceInfo]map[uint16]*model.TrafficPolicy

// concerns reports that a target is a service, or a port of one, whose callers' ztunnels choose the endpoint.
func (b byZtunnel) concerns(t attached) bool {
	return t.Route == "" && t.info != nil && t.info.use == nil
}

func (b byZtunnel) attach(st *Status, t attached, p *model.TrafficPolicy) {
	if b[t.info] == nil {
		b[t.info] = map[uint16]*model.TrafficPolicy{}
	}
	b[t.info][t.Port] = p
	idle := unserved(p, t.Port)
	if len(idle) == 0 {
		st.set(conditionEnforced, true, "Enforced", "for connections to %s by their callers' ztunnels", t.String())
		return
	}
	what := strings.Join(idle, ", ")
	st.set(conditionEnforced, false, reasonNoWaypoint, "for connections to %s by their callers' ztunnels, all but %s: %s", t.String(), what, t.info.unserved())
	st.warn(t.path, what+" of it does nothing for "+t.String()+": "+t.info.unserved(),
		"make a Gateway of class "+api.WaypointClass+" and label the Service or its namespace "+api.LabelUseWaypoint+": <gateway>, or leave these fields out")
}

// unserved names the fields that only a waypoint carries out.
func unserved(p *model.TrafficPolicy, port uint16) []string {
	var out []string
	add := func(missing bool, field string) {
		if missing {
			out = append(out, field)
		}
	}
	if t := p.Timeouts; t != nil {
		add(t.Request != nil, "timeouts.request")
		add(t.PerTry != nil, "timeouts.perTry")
	}
	add(p.Retries != nil, "retries")
	add(p.Subset != nil, "subset")
	if b := p.Balance; b != nil {
		add(b.Hash != nil && !b.Hash.SourceIP && !b.Hash.Identity, "loadBalancing.hashOn")
		add(b.Panic > 0, "loadBalancing.panicThreshold")
	}
	if l := p.Locality; l != nil {
		add(l.Failover != nil, "locality.failover")
		add(l.Distribute != nil, "locality.distribute")
		add(l.Prefer != nil && port != 0, "locality.prefer")
	}
	if l := p.Limits; l != nil {
		add(l.Pending != nil || l.Requests != nil || l.Retries != nil || l.RequestsPerConnection != 0, "connectionLimits of requests")
	}
	if o := p.Outliers; o != nil {
		add(o.ServerErrors > 0, "outlierDetection.consecutiveServerErrors")
		add(o.GatewayErrors > 0, "outlierDetection.consecutiveGatewayErrors")
		add(o.SuccessRate != nil, "outlierDetection.successRate")
	}
	add(p.Protocol != "", "protocol")
	add(p.HTTP2 != nil, "http2")
	add(p.TLS != nil, "tls")
	return out
}

// finish gives the services what was attached to them; what is said of a port comes before what is said of all.
func (b byZtunnel) finish() {
	for info, ports := range b {
		for _, port := range slices.Sorted(maps.Keys(ports)) {
			p := ports[port]
			if port != 0 {
				p = p.Over(ports[0])
			} else if p.Locality != nil && len(p.Locality.Prefer) > 0 {
				info.model.Preference, info.model.StrictPreference = p.Locality.Prefer, false
			}
			info.model.Carriage = append(info.model.Carriage, carriage(port, p))
		}
	}
}

// carriage is the part of a policy that concerns connections.
func carriage(port uint16, p *model.TrafficPolicy) model.Carriage {
	out := model.Carriage{Port: port, Keepalive: p.Keepalive}
	if t := p.Timeouts; t != nil {
		out.Connect = t.Connect
		if t.Idle != nil {
			out.Idle = *t.Idle
		}
	}
	out.Balance = connBalance(p.Balance)
	if l := p.Limits; l != nil && (l.Connections != nil || l.PerEndpoint != nil) {
		out.Limits = &model.ConnectionLimits{Connections: l.Connections, PerEndpoint: l.PerEndpoint}
	}
	if o := p.Outliers; o != nil && o.ConnectFailures > 0 {
		out.Outliers = &model.Outliers{ConnectFailures: o.ConnectFailures, BaseEjection: o.BaseEjection, MaxEjection: o.MaxEjection, MaxPercent: o.MaxPercent}
	}
	return out
}

// connBalance is how connections are balanced: nil is the usual way, by the number of connections.
func connBalance(b *model.Balance) *model.Balance {
	switch {
	case b == nil:
		return nil
	case b.Hash != nil && (b.Hash.SourceIP || b.Hash.Identity):
		return &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{SourceIP: b.Hash.SourceIP, Identity: b.Hash.Identity}}
	case b.Algorithm == model.RoundRobin, b.Algorithm == model.RandomEndpoint:
		return &model.Balance{Algorithm: b.Algorithm, SlowStart: b.SlowStart}
	case b.SlowStart != nil:
		return &model.Balance{Algorithm: model.LeastConnections, SlowStart: b.SlowStart}
	}
	return nil
}

// addProbes has the nodes of a service's endpoints check their health, with a waypoint or without.
func addProbes(t attached, checks []model.HealthCheck) {
	if t.Route != "" || t.info == nil {
		return
	}
	for _, h := range checks {
		t.info.model.Probes = append(t.info.model.Probes, model.Probe{ServicePort: t.Port, HealthCheck: h})
	}
}
