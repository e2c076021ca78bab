package translate

import (
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// Stages lists what to publish one after the other on the way from prev to r, so that no request falls
// between: Envoy takes types in no fixed order, answers 503 for a route whose cluster is not there yet,
// and 404 for an address whose routes are not.
//
//  1. what is new beside what is there: clusters, endpoints, scopes and their routes; routes that are
//     already in use stay as they are, and no new address opens
//  2. the new routes and the new CONNECT table, with what goes still there
//  3. r
//
// Stages that would be equal to the next are left out; the last is always r. A nil prev gives r alone.
// Where policies change together with the endpoints that they guard, see guarded.
func (r *Resources) Stages(prev *Resources) []*Resources {
	if prev == nil {
		return []*Resources{r}
	}
	both := r.beside(prev)
	if r.changesGuard(prev) {
		return r.guarded(prev, both)
	}
	leaving := len(both.Clusters) > len(r.Clusters) || len(both.Routes) > len(r.Routes) || len(both.Scopes) > len(r.Scopes) ||
		len(both.named(sniTableName).GetVirtualHosts()) > len(r.named(sniTableName).GetVirtualHosts())
	var out []*Resources
	if r.adds(prev) {
		first := *both
		first.Routes = both.routesOf(prev)
		out = append(out, &first)
	}
	if leaving {
		out = append(out, both)
	}
	return append(out, r)
}

// adds reports whether r has a cluster or an address that prev has not.
func (r *Resources) adds(prev *Resources) bool {
	clusters := index(prev.Clusters, (*clusterv3.Cluster).GetName)
	for _, c := range r.Clusters {
		if clusters[c.Name] == nil {
			return true
		}
	}
	rows := index(prev.table().GetVirtualHosts(), (*routev3.VirtualHost).GetName)
	for _, vh := range r.table().GetVirtualHosts() {
		if rows[vh.Name] == nil {
			return true
		}
	}
	return len(rowsOfOthers(prev.named(sniTableName), r.named(sniTableName))) > 0
}

// beside is r and what only prev has. A scope whose address r gives to another is not kept.
func (r *Resources) beside(prev *Resources) *Resources {
	out := *r
	out.Clusters = union(r.Clusters, prev.Clusters, (*clusterv3.Cluster).GetName)
	out.Endpoints = union(r.Endpoints, prev.Endpoints, (*endpointv3.ClusterLoadAssignment).GetClusterName)
	out.Routes = union(r.Routes, prev.Routes, (*routev3.RouteConfiguration).GetName)
	for i, rc := range out.Routes {
		if rc.Name == sniTableName {
			out.Routes[i] = withRowsOfOthers(rc, prev.named(sniTableName))
		}
	}
	out.Scopes = union(r.Scopes, prev.Scopes, func(s *routev3.ScopedRouteConfiguration) string {
		return s.GetKey().GetFragments()[0].GetStringKey()
	})
	return &out
}

// routesOf are r's route configurations, but as prev has those that it has; of the CONNECT table those rows that both
// have, as prev has them.
func (r *Resources) routesOf(prev *Resources) []*routev3.RouteConfiguration {
	old := index(prev.Routes, (*routev3.RouteConfiguration).GetName)
	rows := index(r.table().GetVirtualHosts(), (*routev3.VirtualHost).GetName)
	out := make([]*routev3.RouteConfiguration, 0, len(r.Routes))
	for _, rc := range r.Routes {
		switch {
		case rc.Name == connectTableName:
			table := &routev3.RouteConfiguration{Name: rc.Name, ValidateClusters: rc.ValidateClusters}
			for _, vh := range prev.table().GetVirtualHosts() {
				if rows[vh.Name] != nil {
					table.VirtualHosts = append(table.VirtualHosts, vh)
				}
			}
			rc = table
		case rc.Name == sniTableName:
			rc = withRowsOfOthers(prev.named(sniTableName), rc)
		case old[rc.Name] != nil:
			rc = old[rc.Name]
		}
		out = append(out, rc)
	}
	return out
}

// rowsOfOthers are the rows in more of targets that have none in table.
func rowsOfOthers(table, more *routev3.RouteConfiguration) []*routev3.VirtualHost {
	have := map[string]bool{}
	for _, vh := range table.GetVirtualHosts() {
		have[rowTarget(vh)] = true
	}
	return slices.DeleteFunc(slices.Clone(more.GetVirtualHosts()), func(vh *routev3.VirtualHost) bool { return have[rowTarget(vh)] })
}

// withRowsOfOthers is the table of server names with those rows; nil where neither is there.
func withRowsOfOthers(table, more *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	rows := rowsOfOthers(table, more)
	if table == nil {
		return more
	}
	if len(rows) == 0 {
		return table
	}
	out := proto.Clone(table).(*routev3.RouteConfiguration)
	out.VirtualHosts = append(out.VirtualHosts, rows...)
	return out
}

// table is the CONNECT table.
func (r *Resources) table() *routev3.RouteConfiguration { return r.named(connectTableName) }

// named is a route configuration; nil if it is not there.
func (r *Resources) named(name string) *routev3.RouteConfiguration {
	for _, rc := range r.Routes {
		if rc.Name == name {
			return rc
		}
	}
	return nil
}

func index[T comparable](list []T, name func(T) string) map[string]T {
	out := make(map[string]T, len(list))
	for _, x := range list {
		out[name(x)] = x
	}
	return out
}

// union is a and what of b has no namesake in it.
func union[T comparable](a, b []T, name func(T) string) []T {
	have := index(a, name)
	out := append(make([]T, 0, len(a)), a...)
	var none T
	for _, x := range b {
		if have[name(x)] == none {
			out = append(out, x)
		}
	}
	return out
}
