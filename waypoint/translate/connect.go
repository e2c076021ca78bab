package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// connectTable is the route configuration of hbone: which CONNECT authority leads where. What is not in it
// is answered 404. Policies of ports that are not (or not surely) HTTP are enforced right here, by the
// certificate of the connection.
func (b *builder) connectTable(targets []*target) *routev3.RouteConfiguration {
	rc := &routev3.RouteConfiguration{Name: connectTableName, ValidateClusters: boolValue(false)}
	for _, t := range targets {
		b.unusedL4(t)
		vh := &routev3.VirtualHost{Name: t.name, Domains: t.vips}
		owners := []Source{t.source}
		if t.kind == kindTCP || t.kind == kindAuto {
			vh.TypedPerFilterConfig, t.owners = b.enforce(t, onConnection, b.layers(t))
			t.enforced = vh.TypedPerFilterConfig
		}
		routes, by := b.connectRoutes(t)
		vh.Routes = routes
		owners = append(append(owners, by...), t.owners...)
		if t.kind == kindTCP {
			owners = append(owners, b.trafficOnConnections(t, routes)...)
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
		b.res.own(resource.RouteType, rc.Name, owners...)
	}
	return rc
}

func (t *target) connectCluster() string {
	switch t.kind {
	case kindHTTP:
		return listenHTTP
	case kindAuto:
		return listenAuto
	case kindTLS:
		return listenTLS
	}
	return t.name
}
