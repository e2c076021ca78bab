package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// sayTraffic tells what TrafficPolicies do to a request at the waypoint: which of them concern it, and what
// comes of them together. Route and rule are nil where none takes the request.
func (x *explainer) sayTraffic(h *hop, route *model.Route, rule *model.RouteRule) {
	var concern []*model.Attachment
	for _, a := range x.snap.Attachments {
		if a.Traffic != nil && concernsTraffic(a.Target, x.target, route, rule) {
			concern = append(concern, a)
		}
	}
	slices.SortFunc(concern, (*model.Attachment).Compare)
	var joined *model.TrafficPolicy
	var names []string
	for _, a := range concern {
		joined = joined.Over(a.Traffic)
		names = append(names, a.Namespace+"/"+a.Name)
	}
	if joined == nil {
		return
	}
	what := "TrafficPolicy"
	if len(names) > 1 {
		what = "TrafficPolicies, the narrowest first,"
	}
	h.say("%s %s: %s", what, strings.Join(names, ", "), trafficText(joined, rule))
}

// tlsTo is how the waypoint calls an endpoint outside the mesh, by the narrowest TrafficPolicy of a service that it belongs to;
// nil: in clear.
func (x *explainer) tlsTo(ep endpoint) *model.BackendTLS {
	var found *model.Attachment
	for _, a := range x.snap.Attachments {
		if a.Traffic == nil || a.Traffic.TLS == nil || !slices.ContainsFunc(ep.workload.Services[a.Target.Service], func(p model.Port) bool {
			return p.TargetPort == ep.port && (a.Target.Port == 0 || a.Target.Port == p.ServicePort)
		}) {
			continue
		}
		if found == nil || a.Compare(found) < 0 {
			found = a
		}
	}
	if found == nil {
		return nil
	}
	return found.Traffic.TLS
}

// arriveOutside judges a call to an endpoint that is not in the mesh.
func (x *explainer) arriveOutside(h *hop, ep endpoint) bool {
	h.where = "At " + placeText(ep.workload)
	var how *model.BackendTLS
	if x.byWaypoint {
		how = x.tlsTo(ep)
	}
	switch {
	case how == nil:
		h.say("it is not in the mesh: nothing is enforced, the connection arrives in clear text")
	case how.Broken != "":
		h.say("it is not in the mesh, and not called: the TLS that a TrafficPolicy asks for cannot be done: %s", how.Broken)
		return false
	default:
		roots, shown := "the public roots", ""
		if how.Roots != "" {
			roots = "roots of the policy's own"
		}
		if how.Identity {
			shown = "; the waypoint shows its own certificate, if it is asked for one"
		}
		names := how.Names
		if len(names) == 0 {
			names = []string{how.ServerName}
		}
		h.say("it is not in the mesh: the waypoint calls it by TLS as %s, and wants a certificate of %s by %s%s", how.ServerName, strings.Join(names, " or "), roots, shown)
	}
	return true
}

func concernsTraffic(a model.Target, t target, route *model.Route, rule *model.RouteRule) bool {
	if a.Route != "" {
		return route != nil && a.Route == route.Key() && (a.Rule == "" || rule != nil && a.Rule == rule.Name)
	}
	return t.service != nil && a.Service == t.service.Key() && (a.Port == 0 || a.Port == t.port)
}

// trafficText is a policy in a line. What the rule of the route says itself comes before it.
func trafficText(p *model.TrafficPolicy, rule *model.RouteRule) string {
	if rule == nil {
		rule = &model.RouteRule{}
	}
	var out []string
	add := func(is bool, format string, args ...any) {
		if is {
			out = append(out, fmt.Sprintf(format, args...))
		}
	}
	if t := p.Timeouts; t != nil {
		add(t.Request != nil && rule.Timeout == 0 && !rule.NoTimeout && *t.Request > 0, "answered 504 after %v", value(t.Request))
		add(t.PerTry != nil && rule.TryTimeout == 0 && *t.PerTry > 0, "a try may take %v", value(t.PerTry))
		add(t.Idle != nil && *t.Idle > 0, "cut after %v idle", value(t.Idle))
		add(t.Connect > 0, "%v to connect", t.Connect)
	}
	if r := p.Retries; r != nil && rule.Retry == nil {
		add(r.Attempts == 0, "no retries")
		add(r.Attempts > 0, "up to %d retries of %s", r.Attempts, methodsText(r))
	}
	if len(p.Subset) > 0 {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(p.Subset)) {
			labels = append(labels, k+"="+p.Subset[k])
		}
		add(true, "only pods with %s", strings.Join(labels, ","))
	}
	if b := p.Balance; b != nil {
		add(true, "chosen by %s", algorithmText(b))
	}
	if l := p.Locality; l != nil {
		add(len(l.Prefer) > 0, "nearest first by %s", joined(l.Prefer))
		add(len(l.Failover) > 0, "zones in the order %s", strings.Join(l.Failover, ", "))
		add(len(l.Distribute) > 0, "divided among zones")
	}
	add(p.Limits != nil, "503 over its connectionLimits")
	add(p.Outliers != nil, "endpoints that fail are ejected")
	add(p.Protocol == model.AppHTTP2, "HTTP/2 to the application")
	add(p.Protocol == model.AppHTTP, "HTTP/1.1 to the application")
	add(p.TLS != nil, "TLS to endpoints outside the mesh")
	if len(out) == 0 {
		return "the route itself says all that it would"
	}
	return strings.Join(out, ", ")
}

func methodsText(r *model.Retries) string {
	if len(r.Methods) == 0 {
		return "any method"
	}
	return strings.Join(r.Methods, ", ")
}

func algorithmText(b *model.Balance) string {
	name := string(b.Algorithm)
	if name == "" {
		name = string(model.LeastRequest)
	}
	if h := b.Hash; h != nil {
		switch {
		case h.Header != "":
			name += " of header " + h.Header
		case h.Query != "":
			name += " of query parameter " + h.Query
		case h.Cookie != "":
			name += " of cookie " + h.Cookie
		case h.Identity:
			name += " of the caller's identity"
		default:
			name += " of the caller's address"
		}
	}
	return name
}

func joined[T ~string](list []T) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
