package translate

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// Routes of connections. A TCPRoute is served where the tunnel ends, in the CONNECT table; where a TLSRoute
// applies, the connection goes on to the listeners of sni.go, which read the name that the client asks for.

// l4Routes lists the routes of a kind for connections to a target, the oldest first.
func (b *builder) l4Routes(t *target, kind string) []*model.Route {
	if t.service == nil {
		return nil
	}
	var out []*model.Route
	for _, r := range b.routesL4[t.serviceKey()] {
		if r.Kind == kind && (r.Port == 0 || r.Port == t.port) {
			out = append(out, r)
		}
	}
	return out
}

// hasL4Route reports whether a route of a kind is for connections to a port.
func (b *builder) hasL4Route(s *model.Service, port uint16, kind string) bool {
	return len(b.l4Routes(&target{service: s, port: port}, kind)) > 0
}

// connectRoutes are a target's routes in the CONNECT table: those for callers of one namespace before the one for
// all others.
func (b *builder) connectRoutes(t *target) ([]*routev3.Route, []Source) {
	byNamespace := map[string]*model.Route{}
	if t.kind == kindTCP {
		byNamespace = firstOf(b.l4Routes(t, "TCPRoute"))
	}
	var out []*routev3.Route
	var owners []Source
	for _, ns := range sortedKeys(byNamespace) {
		owners = append(owners, routeSource(byNamespace[ns]))
		if ns == t.service.Namespace {
			continue
		}
		route := b.connection(t, byNamespace[ns], t.connectCluster(), onConnection)
		route.Match.Headers = []*routev3.HeaderMatcher{{
			Name:                 headerPeer,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: namespaceURI(model.StringMatch{Value: ns})},
		}}
		out = append(out, route)
	}
	var own *model.Route
	if t.service != nil {
		own = byNamespace[t.service.Namespace]
	}
	return append(out, b.connection(t, own, t.connectCluster(), onConnection)), owners
}

// firstOf keeps the first route of each namespace.
func firstOf(routes []*model.Route) map[string]*model.Route {
	out := map[string]*model.Route{}
	for _, r := range routes {
		if out[r.Namespace] == nil {
			out[r.Namespace] = r
		}
	}
	return out
}

// connection leads a CONNECT to the backends of a route, or without one to a cluster.
func (b *builder) connection(t *target, r *model.Route, cluster string, at where) *routev3.Route {
	action := &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          seconds(0),
		UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{{
			UpgradeType:   "CONNECT",
			ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{},
		}},
	}
	route := &routev3.Route{
		Name:     t.name,
		Match:    &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}},
		Metadata: t.metadata(),
		Action:   &routev3.Route_Route{Route: action},
	}
	if r == nil {
		return route
	}
	route.Name = r.Key()
	if why, refused := b.cfg.Refused[routeSource(r)]; refused {
		b.problem(routeSource(r), "refuses connections, Envoy refuses it: %s", why)
		return refusing(route, "refused by the waypoint")
	}
	if why := b.connectionShares(t, r, action, at); why != "" {
		return refusing(route, why)
	}
	return route
}

// connectionShares divides connections among the backends of a route's first rule. A backend that cannot be
// reached keeps its share, for which there is no cluster. The result says why there is nobody at all.
func (b *builder) connectionShares(t *target, r *model.Route, action *routev3.RouteAction, at where) string {
	if len(r.Rules) == 0 {
		return "the route has no rules"
	}
	var shares []*routev3.WeightedCluster_ClusterWeight
	usable, why := false, "the rule has no backends"
	for i := range r.Rules[0].Backends {
		be := &r.Rules[0].Backends[i]
		if be.Weight == 0 {
			continue
		}
		name, broken := b.backendCluster(be, true)
		share := &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: u32(be.Weight)}
		if broken == "" {
			usable = true
			share.TypedPerFilterConfig = b.instead(t, be, nil, at)
		} else {
			why = broken
		}
		shares = append(shares, share)
	}
	if !usable {
		return why
	}
	if len(shares) == 1 && plainShare(shares[0]) {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: shares[0].Name}
		return ""
	}
	scale(shares)
	action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: shares}}
	return ""
}

// refusing answers a CONNECT so that the caller's ztunnel closes the connection.
func refusing(route *routev3.Route, why string) *routev3.Route {
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 503,
		Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "weft: " + why + "\n"}},
	}}
	return route
}

// unusedL4 tells of routes of connections on a port that is served as HTTP, where requests are routed.
func (b *builder) unusedL4(t *target) {
	if t.kind != kindHTTP || t.app.HTTP() || t.service == nil {
		return
	}
	for _, r := range slices.Concat(b.l4Routes(t, "TCPRoute"), b.l4Routes(t, "TLSRoute")) {
		b.problem(routeSource(r), "not in force on %s: HTTP routes or policies make the port one of HTTP; declare its appProtocol to be tcp or tls", t.name)
	}
}
