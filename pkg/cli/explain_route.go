package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

func matchString(m model.StringMatch, s string) bool {
	switch m.Kind {
	case model.Prefix:
		return strings.HasPrefix(s, m.Value)
	case model.Suffix:
		return strings.HasSuffix(s, m.Value)
	case model.Presence:
		return s != ""
	}
	return s == m.Value
}

// sayRoute tells which route rule takes the request, and returns the endpoints that it leads to, by backend.
func (x *explainer) sayRoute(h *hop, wp *model.Waypoint, req request) [][]endpoint {
	s := x.target.service
	if x.byConnection() {
		x.sayIdle(h, wp)
		return x.sayConnection(h, req)
	}
	routes := forCaller(x.routesHere("HTTPRoute", "GRPCRoute"), s.Namespace, x.src.Namespace)
	if len(routes) == 0 {
		x.sayAttached(h, wp, nil, nil, req)
		if x.verdict == refused {
			return nil
		}
		x.sayServiceFaults(h, req)
		x.sayTraffic(h, nil, nil)
		return [][]endpoint{x.target.endpoints}
	}
	route, rule := pickRule(routes, req, x.src.Identity())
	if route == nil {
		h.say("routes apply to the service but no rule matches this request: answered 404")
		x.worsen(refused)
		x.advise("add a rule that matches to %s", routes[0].Key())
		return nil
	}
	r := route.Rules[rule]
	h.say("%s, rule %d takes the request%s", route.Key(), rule+1, assumption(req))
	x.sayAttached(h, wp, route, &r, req)
	if x.verdict == refused {
		return nil
	}
	x.sayServiceFaults(h, req)
	x.sayFaults(h, req, model.Target{Route: route.Key(), Rule: cmp.Or(r.Name, "-")}, model.Target{Route: route.Key()})
	if r.Invalid != "" {
		h.say("that rule cannot be served: %s; answered 500", r.Invalid)
		x.worsen(refused)
		return nil
	}
	if sayFilters(h, r) {
		return nil
	}
	if r.Redirect == nil {
		x.sayTraffic(h, route, &r)
	}
	return x.backends(h, r)
}

// sayServiceFaults tells of the faults of the service as a whole.
func (x *explainer) sayServiceFaults(h *hop, req request) {
	s := x.target.service
	x.sayFaults(h, req, model.Target{Service: s.Key(), Port: x.target.port}, model.Target{Service: s.Key()})
}

// sayFaults tells of the faults at some targets.
func (x *explainer) sayFaults(h *hop, req request, targets ...model.Target) {
	for _, t := range targets {
		for _, f := range sorted(x.snap.Faults) {
			if f.Target == t {
				sayFault(h, f, x.src.Identity(), req)
			}
		}
	}
}

// forCaller keeps the routes that act on a caller: those of its own namespace, in the place of the others
// where there are any; else those of the service's namespace.
func forCaller(routes []*model.Route, service, caller string) []*model.Route {
	of := func(namespace string) []*model.Route {
		return slices.DeleteFunc(slices.Clone(routes), func(r *model.Route) bool { return r.Namespace != namespace })
	}
	if own := of(caller); len(own) > 0 {
		return own
	}
	return of(service)
}

func assumption(req request) string {
	if req.empty() {
		return " (assuming one without any special path, method or header)"
	}
	return ""
}

func (x *explainer) backends(h *hop, r model.RouteRule) [][]endpoint {
	if len(r.Backends) == 0 && r.Redirect == nil {
		return [][]endpoint{x.target.endpoints}
	}
	if r.Redirect != nil {
		h.say("answered with a redirect")
		return nil
	}
	var out [][]endpoint
	total := uint32(0)
	for _, b := range r.Backends {
		total += b.Weight
	}
	for _, b := range r.Backends {
		share := "none"
		if total > 0 {
			share = fmt.Sprintf("%.0f %%", 100*float64(b.Weight)/float64(total))
		}
		s := x.snap.Services[b.Service]
		switch {
		case b.Invalid != "" || s == nil:
			h.say("%s of the requests are answered 500: backend %s: %s", share, b.Service, b.Invalid)
			x.worsen(depends)
		case b.Weight > 0:
			eps := serviceEndpoints(x.snap, s, b.Port)
			h.say("%s of the requests go to service %s port %d (%d endpoints)", share, serviceName(s), b.Port, len(eps))
			out = append(out, eps)
		}
	}
	return out
}

// pickRule finds the rule of highest precedence that matches, by Gateway API's order: exact path, regular
// expression, longest prefix, method, most headers, most query parameters, callers, oldest route, first rule.
func pickRule(routes []*model.Route, req request, caller identity.Identity) (*model.Route, int) {
	var best *model.Route
	bestRule, bestRank := 0, []int(nil)
	for _, r := range routes {
		for i, rule := range r.Rules {
			from := rule.Callers()
			if len(from) > 0 && !slices.ContainsFunc(from, func(m model.CallerMatch) bool { return m.Is(caller) }) {
				continue
			}
			matches := rule.Matches
			if len(matches) == 0 {
				matches = []model.RouteMatch{{}}
			}
			for _, m := range matches {
				if rank := rankOf(m, rule); matchRequest(m, req) && (bestRank == nil || slices.Compare(rank, bestRank) > 0) {
					best, bestRule, bestRank = r, i, rank
				}
			}
		}
	}
	return best, bestRule
}

func rankOf(m model.RouteMatch, rule model.RouteRule) []int {
	callers := min(1, len(rule.Callers()))
	exact, method := map[model.MatchPath]int{model.PathExact: 2, model.PathRegex: 1}[m.PathKind], 0
	if m.Method != "" {
		method = 1
	}
	return []int{exact, len(m.Path), method, len(m.Headers), len(m.Query), callers}
}

func matchRequest(m model.RouteMatch, req request) bool {
	path, query, _ := strings.Cut(req.path, "?")
	if path == "" {
		path = "/"
	}
	switch m.PathKind {
	case model.PathExact:
		if path != m.Path {
			return false
		}
	case model.PathPrefix:
		p := strings.TrimSuffix(m.Path, "/")
		if path != p && !strings.HasPrefix(path, p+"/") {
			return false
		}
	case model.PathRegex:
		if !matchRegex(m.Path, path) {
			return false
		}
	}
	if m.Method != "" && req.method != m.Method {
		return false
	}
	for _, h := range m.Headers {
		if v, ok := req.header[strings.ToLower(h.Name)]; !ok || !matchName(h, v) {
			return false
		}
	}
	params := map[string]string{}
	for _, kv := range strings.Split(query, "&") {
		k, v, _ := strings.Cut(kv, "=")
		params[k] = v
	}
	for _, q := range m.Query {
		if v, ok := params[q.Name]; !ok || !matchName(q, v) {
			return false
		}
	}
	return true
}

func matchName(m model.NameMatch, v string) bool {
	if m.Regex {
		return matchRegex(m.Value, v)
	}
	return m.Value == v
}

func matchRegex(expr, s string) bool {
	re, err := regexp.Compile("^(?:" + expr + ")$")
	return err == nil && re.MatchString(s)
}

// describeRules writes in short whom a policy lets in.
func describeRules(p *model.Policy) string {
	if len(p.Rules) == 0 {
		return "it has no rules, so it lets nobody in"
	}
	var rules []string
	for _, r := range p.Rules {
		var clauses []string
		for _, c := range r.Clauses {
			clauses = append(clauses, join(c.Matches, describeMatch))
		}
		if len(clauses) == 0 {
			clauses = []string{"everyone"}
		}
		rules = append(rules, strings.Join(clauses, " and "))
	}
	return "it lets in " + strings.Join(rules, "; or ")
}

func describeMatch(m model.Match) string {
	var parts []string
	add := func(name string, n int, text func(int) string) {
		var list []string
		for i := range n {
			list = append(list, text(i))
		}
		if n > 0 {
			parts = append(parts, name+" "+strings.Join(list, " or "))
		}
	}
	add("principal", len(m.Principals), func(i int) string { return m.Principals[i].String() })
	add("not principal", len(m.NotPrincipals), func(i int) string { return m.NotPrincipals[i].String() })
	add("namespace", len(m.Namespaces), func(i int) string { return m.Namespaces[i].String() })
	add("not namespace", len(m.NotNamespaces), func(i int) string { return m.NotNamespaces[i].String() })
	account := func(list []model.ServiceAccountMatch) func(int) string {
		return func(i int) string { return list[i].Namespace + "/" + list[i].ServiceAccount }
	}
	add("service account", len(m.ServiceAccounts), account(m.ServiceAccounts))
	add("not service account", len(m.NotServiceAccounts), account(m.NotServiceAccounts))
	add("source", len(m.SourceIPs), func(i int) string { return m.SourceIPs[i].String() })
	add("not source", len(m.NotSourceIPs), func(i int) string { return m.NotSourceIPs[i].String() })
	add("destination", len(m.DestinationIPs), func(i int) string { return m.DestinationIPs[i].String() })
	add("not destination", len(m.NotDestinationIPs), func(i int) string { return m.NotDestinationIPs[i].String() })
	add("port", len(m.Ports), func(i int) string { return fmt.Sprint(m.Ports[i]) })
	add("not port", len(m.NotPorts), func(i int) string { return fmt.Sprint(m.NotPorts[i]) })
	if len(parts) == 0 {
		return "everyone"
	}
	return strings.Join(parts, ", ")
}
