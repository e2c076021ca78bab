package translate

import (
	"fmt"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

// Static adds the resources to a bootstrap as static ones, everything in place: what `envoy --mode
// validate` reads as a whole, where the dynamic form would be fetched piece by piece. The bootstrap must
// define LauncherCluster. Neither argument is changed.
func Static(r *Resources, bootstrap *bootstrapv3.Bootstrap) (*bootstrapv3.Bootstrap, error) {
	out := proto.Clone(bootstrap).(*bootstrapv3.Bootstrap)
	out.DynamicResources = nil
	if out.StaticResources == nil {
		out.StaticResources = &bootstrapv3.Bootstrap_StaticResources{}
	}
	s := &inliner{routes: map[string]*routev3.RouteConfiguration{}, endpoints: map[string]*endpointv3.ClusterLoadAssignment{}}
	for _, rc := range r.Routes {
		s.routes[rc.Name] = rc
	}
	for _, e := range r.Endpoints {
		s.endpoints[e.ClusterName] = e
	}
	for _, sc := range r.Scopes {
		inlined := proto.Clone(sc).(*routev3.ScopedRouteConfiguration)
		inlined.RouteConfiguration = s.routes[sc.RouteConfigurationName]
		inlined.RouteConfigurationName = ""
		s.scopes = append(s.scopes, inlined)
	}
	for _, c := range r.Clusters {
		out.StaticResources.Clusters = append(out.StaticResources.Clusters, s.cluster(c))
	}
	for _, l := range r.Listeners {
		inlined, err := s.listener(l)
		if err != nil {
			return nil, fmt.Errorf("make listener %s static: %w", l.Name, err)
		}
		out.StaticResources.Listeners = append(out.StaticResources.Listeners, inlined)
	}
	return out, nil
}

type inliner struct {
	routes    map[string]*routev3.RouteConfiguration
	endpoints map[string]*endpointv3.ClusterLoadAssignment
	scopes    []*routev3.ScopedRouteConfiguration
}

func (s *inliner) cluster(in *clusterv3.Cluster) *clusterv3.Cluster {
	out := proto.Clone(in).(*clusterv3.Cluster)
	if in.EdsClusterConfig == nil {
		return out
	}
	eds := in.EdsClusterConfig.ServiceName
	if eds == "" {
		eds = in.Name
	}
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	out.EdsClusterConfig = nil
	out.LoadAssignment = proto.Clone(s.endpoints[eds]).(*endpointv3.ClusterLoadAssignment)
	out.LoadAssignment.ClusterName = in.Name
	return out
}

func (s *inliner) listener(in *listenerv3.Listener) (*listenerv3.Listener, error) {
	out := proto.Clone(in).(*listenerv3.Listener)
	for _, chain := range out.FilterChains {
		for _, f := range chain.Filters {
			hcm := &hcmv3.HttpConnectionManager{}
			if !f.GetTypedConfig().MessageIs(hcm) {
				continue
			}
			if err := f.GetTypedConfig().UnmarshalTo(hcm); err != nil {
				return nil, err
			}
			s.manager(hcm)
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: pack(hcm)}
		}
	}
	return out, nil
}

func (s *inliner) manager(hcm *hcmv3.HttpConnectionManager) {
	if rds := hcm.GetRds(); rds != nil {
		hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: s.routes[rds.RouteConfigName]}
	}
	if scoped := hcm.GetScopedRoutes(); scoped != nil {
		if len(s.scopes) == 0 { // the static form wants at least one
			hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "none"}}
			return
		}
		scoped.RdsConfigSource = nil
		scoped.ConfigSpecifier = &hcmv3.ScopedRoutes_ScopedRouteConfigurationsList{
			ScopedRouteConfigurationsList: &hcmv3.ScopedRouteConfigurationsList{ScopedRouteConfigurations: s.scopes},
		}
	}
}
