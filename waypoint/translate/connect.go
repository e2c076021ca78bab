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
		vh := &routev3.VirtualHost{
			Name:    t.name,
			Domains: t.vips,
			Routes: []*routev3.Route{{
				Name:     t.name,
				Match:    &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}},
				Metadata: t.metadata(),
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: t.connectCluster()},
					Timeout:          seconds(0),
					UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{{
						UpgradeType:   "CONNECT",
						ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{},
					}},
				}},
			}},
		}
		owners := []Source{t.source}
		if t.kind != kindHTTP {
			var by []Source
			vh.TypedPerFilterConfig, by = b.enforce(t, onConnection, b.layers(t))
			owners = append(owners, by...)
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
	}
	return t.name
}
