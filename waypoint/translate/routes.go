package translate

import (
	"cmp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// routeConfig is a route configuration with the objects it was made from.
type routeConfig struct {
	config *routev3.RouteConfiguration
	owners []Source
}

// routeConfiguration makes everything that happens to requests of one target: its routes in the order of
// precedence, with faults before them, and its policies over all.
func (b *builder) routeConfiguration(t *target) routeConfig {
	owners := []Source{t.source}
	vh := &routev3.VirtualHost{Name: "all", Domains: []string{"*"}, RetryPolicy: defaultRetry()}
	if t.kind == kindHTTP { // a sniffed port's policies are enforced before it is sniffed
		vh.TypedPerFilterConfig, t.owners = b.enforce(t, onRequest, b.layers(t))
		t.enforced = vh.TypedPerFilterConfig
		owners = append(owners, b.verify(t, vh)...)
	}
	entries, by := b.routeEntries(t)
	owners = append(append(owners, by...), t.owners...)
	faults := &faultsOf{b: b, t: t, done: map[*model.Fault][]faultRule{}}
	for _, e := range entries {
		owners = append(owners, b.onRoute(t, &e)...)
		rules, by := faults.rules(&e)
		owners = append(owners, by...)
		vh.Routes = append(vh.Routes, withFaults(e.route, rules)...)
	}
	vh.Routes = withTraces(vh.Routes)
	hoistExtensions(vh)
	t.buckets(vh)
	t.layLimitsBy(vh)
	rc := routeConfig{owners: owners, config: &routev3.RouteConfiguration{
		Name:                   t.name,
		VirtualHosts:           []*routev3.VirtualHost{vh},
		RequestHeadersToRemove: []string{headerDst, headerPeer, headerSpan, "x-envoy-external-address"},
		RequestHeadersToAdd: []*corev3.HeaderValueOption{
			setHeader(headerXFCC, "By="+escapePercent(b.identity().String())+";URI=%FILTER_STATE("+statePeer+":PLAIN)%"),
		},
		ValidateClusters: boolValue(false), MaxDirectResponseBodySizeBytes: u32(maxDirectBody),
	}}
	b.patchRoutes(t, &rc)
	return rc
}

// identity is the waypoint's own.
func (b *builder) identity() identity.Identity {
	return identity.Identity{TrustDomain: b.waypoint.TrustDomain, Namespace: b.waypoint.Namespace, ServiceAccount: b.waypoint.ServiceAccount}
}

// An entry is one match of one rule, with what its place in the order depends on.
type entry struct {
	match model.RouteMatch
	route *routev3.Route
	of    *model.Route     // nil: no route's
	rule  *model.RouteRule // of that route
}

// routeEntries lists the target's routes in the order they are tried. A route of the service's own
// namespace is for all callers; one of another namespace only for callers from there, to whom it takes the
// place of the others. Where routes apply to a caller, a request that none of them matches is answered
// 404; where none does, the service itself serves it. Hostnames are not looked at: Gateway API gives them
// no meaning on routes of services.
func (b *builder) routeEntries(t *target) ([]entry, []Source) {
	var out []entry
	var owners []Source
	byNamespace := map[string][]entry{}
	for _, r := range b.routes[t.serviceKey()] {
		if r.Port != 0 && r.Port != t.port || t.service == nil {
			continue
		}
		owners = append(owners, routeSource(r))
		byNamespace[r.Namespace] = append(byNamespace[r.Namespace], b.entriesOf(t, r)...)
	}
	for _, entries := range byNamespace {
		slices.SortStableFunc(entries, func(x, y entry) int {
			return cmp.Or(comparePrecedence(x.match, y.match), callersFirst(x.rule, y.rule))
		})
	}
	for _, ns := range sortedKeys(byNamespace) {
		if ns == t.service.Namespace {
			continue
		}
		for _, e := range append(byNamespace[ns], noRoute(t)) {
			e.route.Match.FilterState = append(e.route.Match.FilterState, callerFrom(ns))
			out = append(out, e)
		}
	}
	if t.service != nil {
		if own, ok := byNamespace[t.service.Namespace]; ok {
			return append(out, own...), owners
		}
	}
	return append(out, entry{route: defaultRoute(t)}), owners
}

func (b *builder) entriesOf(t *target, r *model.Route) []entry {
	out := []entry{} // a route without rules is there all the same
	why, refused := b.cfg.Refused[routeSource(r)]
	if refused {
		b.problem(routeSource(r), "answers 500, Envoy refuses it: %s", why)
	}
	for i := range r.Rules {
		if refused {
			out = append(out, refusedRule(t, r, &r.Rules[i], i)...)
		} else {
			out = append(out, b.rule(t, r, &r.Rules[i], i)...)
		}
	}
	return out
}

// callerFrom matches callers of one namespace.
func callerFrom(ns string) *matcherv3.FilterStateMatcher {
	return &matcherv3.FilterStateMatcher{Key: statePeer, Matcher: &matcherv3.FilterStateMatcher_StringMatch{
		StringMatch: namespaceURI(model.StringMatch{Value: ns}),
	}}
}

// noRoute keeps the callers of a namespace with routes of its own from the routes of others.
func noRoute(t *target) entry {
	return entry{route: &routev3.Route{
		Name: "none", Match: anyRequest(), Metadata: t.metadata(),
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 404}},
	}}
}

func defaultRoute(t *target) *routev3.Route {
	return &routev3.Route{
		Name:     "default",
		Match:    anyRequest(),
		Metadata: t.metadata(),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: t.name},
			Timeout:          seconds(0),
		}},
	}
}

// metadata tells the access log what was called.
func (t *target) metadata() *corev3.Metadata {
	fields := map[string]string{TagKind: "http"}
	switch t.kind {
	case kindTCP, kindTLS:
		fields[TagKind] = "tcp"
	case kindAuto:
		fields[TagKind] = "auto"
	}
	if t.service != nil {
		fields[TagService] = t.service.Key()
	} else {
		fields[TagService] = "workload/" + t.workload.UID
	}
	return strMeta(metaNS, fields)
}

// compareAge puts older routes first, then the order of names.
func compareAge(x, y *model.Route) int {
	if c := x.Created.Compare(y.Created); c != 0 {
		return c
	}
	return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
}

// comparePrecedence is Gateway API's order: exact path, then regular expression, then longest prefix; then
// a method, more headers, more query parameters. What is equal stays in the order of age.
func comparePrecedence(x, y model.RouteMatch) int {
	if c := pathRank(y) - pathRank(x); c != 0 {
		return c
	}
	if c := pathLength(y) - pathLength(x); c != 0 {
		return c
	}
	if x.Method != y.Method && (x.Method == "" || y.Method == "") {
		if x.Method != "" {
			return -1
		}
		return 1
	}
	if c := len(y.Headers) - len(x.Headers); c != 0 {
		return c
	}
	return len(y.Query) - len(x.Query)
}

// callersFirst puts a rule for some callers before one for all, where their matches are equal.
func callersFirst(x, y *model.RouteRule) int {
	if xs, ys := len(x.Callers()) > 0, len(y.Callers()) > 0; xs != ys {
		if xs {
			return -1
		}
		return 1
	}
	return 0
}

func pathRank(m model.RouteMatch) int {
	switch m.PathKind {
	case model.PathExact:
		return 3
	case model.PathRegex:
		return 2
	}
	return 1
}

func pathLength(m model.RouteMatch) int {
	if m.PathKind == model.PathAny {
		return 1 // as the prefix "/"
	}
	if m.PathKind == model.PathPrefix && m.Path != "/" {
		return len(strings.TrimSuffix(m.Path, "/"))
	}
	return len(m.Path)
}
