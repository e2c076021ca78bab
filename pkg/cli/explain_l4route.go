package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// routesHere lists the routes of the target's port that act on the caller, the oldest first: of requests, or of
// connections.
func (x *explainer) routesHere(kinds ...string) []*model.Route {
	s := x.target.service
	var routes []*model.Route
	for _, r := range sorted(x.snap.Routes) {
		if r.Service == s.Key() && (r.Port == 0 || r.Port == x.target.port) && slices.Contains(kinds, r.Kind) {
			routes = append(routes, r)
		}
	}
	slices.SortStableFunc(routes, func(a, b *model.Route) int { return a.Created.Compare(b.Created) })
	return routes
}

// byConnection reports whether the waypoint leads whole connections on this port, not requests.
func (x *explainer) byConnection() bool {
	p, _ := x.target.service.Port(x.target.port)
	switch {
	case p.App.HTTP() || len(x.routesHere("TCPRoute", "TLSRoute")) == 0:
		return false
	case p.App != model.AppUnknown:
		return true
	}
	return len(x.routesHere("HTTPRoute", "GRPCRoute")) == 0
}

// noRequests reports that the waypoint sees connections here, and no requests in them.
func (x *explainer) noRequests() bool {
	return x.target.service != nil && (x.target.plainTCP() || x.byConnection())
}

// sayConnection tells which TLSRoute or TCPRoute takes the connection. Where TLSRoutes act on the port, the server
// name that the client asks for decides; a TCPRoute takes what none of them is for.
func (x *explainer) sayConnection(h *hop, req request) [][]endpoint {
	s := x.target.service
	named := x.routesHere("TLSRoute")
	all := forCaller(x.routesHere("TLSRoute", "TCPRoute"), s.Namespace, x.src.Namespace)
	if len(all) == 0 {
		return [][]endpoint{x.target.endpoints}
	}
	var route *model.Route
	if len(named) > 0 && req.sni == "" && slices.ContainsFunc(all, func(r *model.Route) bool { return r.Kind == "TLSRoute" && len(r.Hostnames) > 0 }) {
		h.say("TLSRoutes choose by the server name that the client asks for, which was not said")
		x.advise("say it: --sni NAME")
		x.worsen(depends)
	}
	if route = pickName(all, req.sni); route == nil {
		h.say("no TLSRoute is for server name %q: the connection is closed", req.sni)
		x.advise("add a TLSRoute with that hostname, or a TCPRoute for all others")
		x.worsen(refused)
		return nil
	}
	h.say("%s takes the connection", route.Key())
	if len(route.Rules) == 0 || len(route.Rules[0].Backends) == 0 {
		h.say("it has no backends: the connection is closed")
		x.worsen(refused)
		return nil
	}
	return x.connectionShares(h, route.Rules[0].Backends)
}

// pickName finds the route for a server name: the exact one, the narrowest wildcard, what is for all.
func pickName(routes []*model.Route, name string) *model.Route {
	var best *model.Route
	bestRank := -1
	for _, r := range routes {
		hosts := r.Hostnames
		if len(hosts) == 0 || r.Kind == "TCPRoute" {
			hosts = []string{"*"}
		}
		for _, host := range hosts {
			if rank := nameRank(strings.ToLower(host), strings.ToLower(name), r.Kind == "TLSRoute"); rank > bestRank {
				best, bestRank = r, rank
			}
		}
	}
	return best
}

// nameRank is -1 where a hostname is not for a server name.
func nameRank(host, name string, tls bool) int {
	suffix, wild := strings.CutPrefix(host, "*")
	switch {
	case host == "*" && tls:
		return 1
	case host == "*":
		return 0
	case !wild && host == name:
		return 10_000
	case wild && strings.HasSuffix(name, suffix) && len(name) > len(suffix):
		return 1 + len(suffix)
	}
	return -1
}

func (x *explainer) connectionShares(h *hop, backends []model.Backend) [][]endpoint {
	total := uint32(0)
	for _, b := range backends {
		total += b.Weight
	}
	var out [][]endpoint
	for _, b := range backends {
		share := "none"
		if total > 0 {
			share = fmt.Sprintf("%.0f %%", 100*float64(b.Weight)/float64(total))
		}
		s := x.snap.Services[b.Service]
		switch {
		case b.Invalid != "" || s == nil:
			h.say("%s of the connections are closed: backend %s: %s", share, b.Service, b.Invalid)
			x.worsen(depends)
		case b.Weight > 0:
			eps := serviceEndpoints(x.snap, s, b.Port)
			h.say("%s of the connections go to service %s port %d (%d endpoints)", share, serviceName(s), b.Port, len(eps))
			out = append(out, eps)
		}
	}
	return out
}

// headersText names the headers that a filter changes.
func headersText(f *model.HeaderFilter) string {
	var out []string
	for _, c := range []struct {
		of string
		model.HeaderChange
	}{{"the request", f.Request}, {"the answer", f.Response}} {
		var names []string
		for _, h := range slices.Concat(c.Set, c.Add) {
			names = append(names, h.Name)
		}
		if names = append(names, c.Remove...); len(names) > 0 {
			out = append(out, strings.Join(names, ", ")+" of "+c.of)
		}
	}
	return "changes headers: " + strings.Join(out, "; ")
}

// sayFilters tells what the steps of a rule do. It reports whether one of them answers by itself.
func sayFilters(h *hop, r model.RouteRule) bool {
	if r.CORS != nil {
		h.say("CORS: pages of %s may read the answers", strings.Join(r.CORS.Origins, ", "))
	}
	for _, f := range r.Filters {
		what := "changes headers"
		if f.Headers != nil {
			what = headersText(f.Headers)
		}
		switch {
		case f.Direct != nil:
			h.say("HTTPFilter %s answers %d by itself", f.Name, f.Direct.Status)
			return true
		case f.Compression != nil:
			what = "compresses answers by " + strings.Join(f.Compression.Algorithms, ", ")
		case f.GRPCWeb:
			what = "makes gRPC of gRPC-Web"
		case f.Transcoding != nil:
			what = "makes gRPC of JSON for " + strings.Join(f.Transcoding.Services, ", ")
		case f.PathRewrite != nil:
			what = fmt.Sprintf("rewrites paths that match %s to %s", f.PathRewrite.Regex, f.PathRewrite.Replacement)
		case len(f.Callers) > 0:
			what = "makes the rule one for " + callersText(f.Callers) + " alone"
		case f.BufferBytes > 0:
			what = fmt.Sprintf("holds requests back until they are there as a whole, up to %d bytes", f.BufferBytes)
		}
		h.say("HTTPFilter %s %s", f.Name, what)
	}
	for _, m := range r.Mirrors {
		h.say("%g %% of the requests are copied to service %s port %d", float64(m.Weight)/1000, m.Service, m.Port)
	}
	return false
}
