package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
)

// Targets names the rows of the CONNECT table: the service ports and pods that ztunnels can address.
func (r *Resources) Targets() map[string]bool {
	out := map[string]bool{}
	for _, rc := range r.Routes {
		if rc.Name == connectTableName {
			for _, vh := range rc.VirtualHosts {
				out[vh.Name] = true
			}
		}
	}
	return out
}

// OnlyTargets returns the resources with a CONNECT table of no other rows than the given ones, and whether
// that left any out. What is added can thus be made whole before its address opens: Envoy fetches a new
// scope's routes in a second step, and would answer 404 in between.
func (r *Resources) OnlyTargets(keep map[string]bool) (out *Resources, less bool) {
	c := *r
	c.Routes = make([]*routev3.RouteConfiguration, len(r.Routes))
	copy(c.Routes, r.Routes)
	for i, rc := range c.Routes {
		if rc.Name != connectTableName {
			continue
		}
		table := proto.Clone(rc).(*routev3.RouteConfiguration)
		table.VirtualHosts = nil
		for _, vh := range rc.VirtualHosts {
			if keep[vh.Name] {
				table.VirtualHosts = append(table.VirtualHosts, vh)
			} else {
				less = true
			}
		}
		c.Routes[i] = table
	}
	return &c, less
}
