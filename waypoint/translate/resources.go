package translate

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// Source names the Kubernetes object that something was made from. The zero Source is the waypoint itself.
type Source struct {
	Kind      string `json:"kind"` // Service, HTTPRoute, GRPCRoute, AuthorizationPolicy, Fault, Workload
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

// String is Kind/namespace/name.
func (s Source) String() string { return s.Kind + "/" + s.Namespace + "/" + s.Name }

// Compare orders by String.
func (s Source) Compare(o Source) int { return strings.Compare(s.String(), o.String()) }

// Problem says what of an object could not be put in force and what happens instead.
type Problem struct {
	Source  Source `json:"source"`
	Message string `json:"message"`
	// Waiting: nothing is wrong with the object so far.
	Waiting bool `json:"waiting,omitempty"`
}

// Resources is the whole dynamic configuration of one waypoint. Every list is sorted by name.
type Resources struct {
	Listeners []*listenerv3.Listener
	Clusters  []*clusterv3.Cluster
	Endpoints []*endpointv3.ClusterLoadAssignment
	Routes    []*routev3.RouteConfiguration
	Scopes    []*routev3.ScopedRouteConfiguration

	names []string // of targets that are led by server names
	// owners holds, by type URL and resource name, the objects that a resource was made from.
	owners map[string]map[string][]Source
}

func newResources() *Resources { return &Resources{owners: map[string]map[string][]Source{}} }

// ServerNames lists the targets whose connections are led by the server name that the client asks for.
func (r *Resources) ServerNames() []string { return r.names }

// Owners returns the objects that contributed to a resource, sorted; none for the waypoint's own resources.
func (r *Resources) Owners(typeURL, name string) []Source { return r.owners[typeURL][name] }

func (r *Resources) own(typeURL, name string, sources ...Source) {
	byName := r.owners[typeURL]
	if byName == nil {
		byName = map[string][]Source{}
		r.owners[typeURL] = byName
	}
	byName[name] = append(byName[name], sources...)
}

// sort puts every list into the order of names, so that equal snapshots give equal bytes.
func (r *Resources) sort() {
	for _, byName := range r.owners {
		for name, all := range byName {
			slices.SortFunc(all, Source.Compare)
			byName[name] = slices.Compact(all)
		}
	}
	sort.Slice(r.Clusters, func(i, j int) bool { return r.Clusters[i].Name < r.Clusters[j].Name })
	sort.Slice(r.Endpoints, func(i, j int) bool { return r.Endpoints[i].ClusterName < r.Endpoints[j].ClusterName })
	sort.Slice(r.Routes, func(i, j int) bool { return r.Routes[i].Name < r.Routes[j].Name })
	sort.Slice(r.Scopes, func(i, j int) bool { return r.Scopes[i].Name < r.Scopes[j].Name })
}

// ByType lists the resources under their xDS type URLs.
func (r *Resources) ByType() map[resource.Type][]types.Resource {
	return map[resource.Type][]types.Resource{
		resource.ListenerType:    toResources(r.Listeners),
		resource.ClusterType:     toResources(r.Clusters),
		resource.EndpointType:    toResources(r.Endpoints),
		resource.RouteType:       toResources(r.Routes),
		resource.ScopedRouteType: toResources(r.Scopes),
	}
}

// Cache wraps the resources for a go-control-plane snapshot cache. A resource's delta version is the hash
// of its content, so equal resources are not sent again.
func (r *Resources) Cache(version string) (*cache.Snapshot, error) {
	snap, err := cache.NewSnapshot(version, r.ByType())
	if err != nil {
		return nil, fmt.Errorf("make an xDS snapshot of the waypoint's resources: %w", err)
	}
	return snap, nil
}

func toResources[T types.Resource](in []T) []types.Resource {
	out := make([]types.Resource, len(in))
	for i, m := range in {
		out[i] = m
	}
	return out
}

// Sources lists the objects that contributed to any resource of a type, sorted; "" is all types.
func (r *Resources) Sources(typeURL string) []Source {
	var all []Source
	for t, byName := range r.owners {
		if typeURL != "" && t != typeURL {
			continue
		}
		for _, sources := range byName {
			all = append(all, sources...)
		}
	}
	slices.SortFunc(all, Source.Compare)
	return slices.Compact(all)
}
