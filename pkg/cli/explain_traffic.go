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
