package translate

import (
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// guarded are the stages where policies change with the endpoints behind them: a pod with policies of its
// own comes or goes. Envoy might take the pod before the policies, or lose the policies before the pod, and
// for a moment anybody would be let in to it. So
//
//  1. endpoints that go are gone, those that come are not there; everything else as in Stages
//  2. the new policies and routes
//  3. r, with the endpoints that come
func (r *Resources) guarded(prev, both *Resources) []*Resources {
	second := *both
	second.Endpoints = make([]*endpointv3.ClusterLoadAssignment, len(both.Endpoints))
	old := index(prev.Endpoints, assignedTo)
	for i, a := range both.Endpoints {
		if was := old[assignedTo(a)]; was != nil {
			a = meet(a, was)
		}
		second.Endpoints[i] = a
	}
	first := second
	first.Routes = both.routesOf(prev)
	return []*Resources{&first, &second, r}
}

// changesGuard reports whether a route configuration's policies and some endpoints have both changed.
func (r *Resources) changesGuard(prev *Resources) bool {
	moved := false
	old := index(prev.Endpoints, assignedTo)
	for _, a := range r.Endpoints {
		was := old[assignedTo(a)]
		moved = moved || was != nil && !proto.Equal(a, was)
	}
	if !moved {
		return false
	}
	routes := index(prev.Routes, (*routev3.RouteConfiguration).GetName)
	for _, rc := range r.Routes {
		hosts := index(routes[rc.Name].GetVirtualHosts(), (*routev3.VirtualHost).GetName)
		for _, vh := range rc.VirtualHosts {
			if was := hosts[vh.Name]; was != nil && guards(vh) != guards(was) {
				return true
			}
		}
	}
	return false
}

// guardFilters are the filters that may refuse a request.
var guardFilters = append([]string{filterTokens, filterDeny, filterAllow}, customNames()...)

// guards is what a virtual host enforces, as a text to compare.
func guards(vh *routev3.VirtualHost) string {
	var b strings.Builder
	add := func(name string, filters map[string]*anypb.Any) {
		for _, f := range guardFilters {
			if cfg := filters[f]; cfg != nil {
				b.WriteString(name + "|" + f + "|")
				b.Write(cfg.Value)
			}
		}
	}
	add("", vh.TypedPerFilterConfig)
	for _, route := range vh.Routes {
		for _, share := range route.GetRoute().GetWeightedClusters().GetClusters() {
			add(route.Name+"|"+share.Name, share.TypedPerFilterConfig)
		}
	}
	return b.String()
}

// meet is an assignment without the endpoints that the other has not. Priorities stay as they are.
func meet(a, other *endpointv3.ClusterLoadAssignment) *endpointv3.ClusterLoadAssignment {
	have := map[string]*endpointv3.LbEndpoint{}
	for _, l := range other.Endpoints {
		for _, e := range l.LbEndpoints {
			have[e.GetEndpoint().GetAddress().String()] = e
		}
	}
	out := proto.Clone(a).(*endpointv3.ClusterLoadAssignment)
	for _, l := range out.Endpoints {
		var kept []*endpointv3.LbEndpoint
		for _, e := range l.LbEndpoints {
			if was := have[e.GetEndpoint().GetAddress().String()]; was != nil && sameEndpoint(e, was) {
				kept = append(kept, e)
			}
		}
		l.LbEndpoints = kept
	}
	return out
}

// sameEndpoint reports whether two endpoints with one address are the same pod. What policies say of how it
// is used may differ.
func sameEndpoint(a, b *endpointv3.LbEndpoint) bool {
	x, y := a.GetMetadata().GetFilterMetadata(), b.GetMetadata().GetFilterMetadata()
	for _, field := range []string{metaTunnel, metaAuthority, metaSAN} {
		if x[metaNS].GetFields()[field].GetStringValue() != y[metaNS].GetFields()[field].GetStringValue() {
			return false
		}
	}
	return true
}
