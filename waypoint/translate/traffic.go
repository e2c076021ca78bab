package translate

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// TrafficPolicies say what is done with requests on the routes of the service that was called, and what is
// done with connections on the cluster of the service that is connected to, which is another one where a
// route leads elsewhere.

const kindTraffic = "TrafficPolicy"

// trafficPolicy joins what the policies that concern a request say, field by field, the narrowest first.
func (b *builder) trafficPolicy(t *target, r *model.Route, rule *model.RouteRule) (*model.TrafficPolicy, []Source) {
	var out *model.TrafficPolicy
	var owners []Source
	for _, a := range b.attached(kindTraffic, t, r, rule) {
		out = out.Over(a.Traffic)
		owners = append(owners, attachmentSource(a))
	}
	if out == nil {
		out = &model.TrafficPolicy{}
	}
	return out, owners
}

// trafficOnRoute bounds and repeats requests, and says which endpoints they may go to. What the route itself
// says comes first.
func (b *builder) trafficOnRoute(t *target, e *entry) []Source {
	action := e.route.GetRoute()
	if action == nil {
		return nil // nothing is forwarded
	}
	p, owners := b.trafficPolicy(t, e.of, e.rule)
	rule := e.rule
	if rule == nil {
		rule = &model.RouteRule{}
	}
	if w := p.Timeouts; w != nil {
		if rule.Timeout == 0 && !rule.NoTimeout && w.Request != nil {
			action.Timeout = seconds(*w.Request)
		}
		if w.Idle != nil {
			action.IdleTimeout = seconds(*w.Idle)
		}
	}
	if p.Timeouts != nil || p.Retries != nil {
		action.RetryPolicy = retryPolicy(rule, p)
	}
	action.HashPolicy = b.hashPolicies(action)
	b.restrict(action, t, e)
	if rule.Session != nil {
		perFilter(e.route, filterSession, session(rule.Session))
	}
	return owners
}

// clustersOf lists what a route leads to.
func clustersOf(action *routev3.RouteAction) []string {
	if c := action.GetCluster(); c != "" {
		return []string{c}
	}
	var out []string
	for _, w := range action.GetWeightedClusters().GetClusters() {
		if !slices.Contains(out, w.Name) {
			out = append(out, w.Name)
		}
	}
	return out
}

// trafficOnConnections is trafficOnRoute for connections that are not read.
func (b *builder) trafficOnConnections(t *target, routes []*routev3.Route) []Source {
	p, owners := b.trafficPolicy(t, nil, nil)
	for _, r := range routes {
		action := r.GetRoute()
		if action == nil {
			continue
		}
		if w := p.Timeouts; w != nil && w.Idle != nil {
			action.IdleTimeout = seconds(*w.Idle)
		}
		action.HashPolicy = b.hashPolicies(action)
		b.restrict(action, t, &entry{})
	}
	return owners
}
