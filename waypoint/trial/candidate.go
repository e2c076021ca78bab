package trial

import (
	"fmt"
	"slices"
	"strings"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/waypoint/bootstrap"
	"github.com/weftmesh/weft/waypoint/translate"
)

// Candidate is what is to be judged together.
type Candidate struct {
	Clusters []*clusterv3.Cluster
	Routes   []*routev3.RouteConfiguration
}

// Add adds a resource if a patch has changed it, and reports whether one has. Modules of extensions are left out: they are
// no patch's, and the machine that runs them reserves more memory than a trial may have.
func (c *Candidate) Add(res *anypb.Any) (patched bool, err error) {
	switch {
	case res.MessageIs((*clusterv3.Cluster)(nil)):
		m := &clusterv3.Cluster{}
		if err := res.UnmarshalTo(m); err != nil {
			return false, err
		}
		if patched = marked(m.GetMetadata()); patched {
			c.Clusters = append(c.Clusters, m)
		}
	case res.MessageIs((*routev3.RouteConfiguration)(nil)):
		m := &routev3.RouteConfiguration{}
		if err := res.UnmarshalTo(m); err != nil {
			return false, err
		}
		if patched = marked(m.GetMetadata()); patched {
			translate.RemoveModules(m)
			c.Routes = append(c.Routes, m)
		}
	}
	return patched, nil
}

// Patches lists which ones have changed it, as translation marks them.
func (c *Candidate) Patches() []translate.Source {
	var out []translate.Source
	add := func(m *corev3.Metadata) {
		for key := range strings.FieldsSeq(m.GetFilterMetadata()[translate.PatchMark].GetFields()["by"].GetStringValue()) {
			namespace, name, _ := strings.Cut(key, "/")
			out = append(out, translate.Source{Kind: translate.KindPatch, Namespace: namespace, Name: name})
		}
	}
	for _, m := range c.Clusters {
		add(m.GetMetadata())
	}
	for _, m := range c.Routes {
		add(m.GetMetadata())
	}
	slices.SortFunc(out, translate.Source.Compare)
	return slices.Compact(out)
}

// size in bytes.
func (c *Candidate) size() int {
	n := 0
	for _, m := range c.Clusters {
		n += proto.Size(m)
	}
	for _, m := range c.Routes {
		n += proto.Size(m)
	}
	return n
}

func marked(m *corev3.Metadata) bool { return m.GetFilterMetadata()[translate.PatchMark] != nil }

// write puts the candidate's bootstrap into a directory, in binary: JSON would need every type of filter linked.
func (c Candidate) write(dir string) (file string, err error) {
	b, err := c.bootstrap(dir)
	if err != nil {
		return "", err
	}
	return marshal(dir, b)
}

// bootstrap is the waypoint's own with the candidate in the place of what the controller says.
func (c Candidate) bootstrap(dir string) (*bootstrapv3.Bootstrap, error) {
	b := bootstrap.Config(bootstrap.Options{NodeID: "trial", Gateway: "trial", RunDir: dir})
	b.Admin, b.DynamicResources.LdsConfig, b.DynamicResources.CdsConfig = nil, nil, nil
	b.StaticResources.Clusters = append(b.StaticResources.Clusters, c.Clusters...)
	for i, r := range c.Routes {
		l, err := listener(fmt.Sprintf("trial-%d", i), r)
		if err != nil {
			return nil, fmt.Errorf("candidate %s: %w", r.GetName(), err)
		}
		b.StaticResources.Listeners = append(b.StaticResources.Listeners, l)
	}
	return b, nil
}

// listener has the routes: a route configuration alone is nothing that Envoy would look at. Filters of routes are built
// whether the listener has a place for them or not.
func listener(name string, r *routev3.RouteConfiguration) (*listenerv3.Listener, error) {
	router, err := anypb.New(&routerv3.Router{})
	if err != nil {
		return nil, err
	}
	manager, err := anypb.New(&hcmv3.HttpConnectionManager{
		StatPrefix: name, RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: r},
		HttpFilters: []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router}}},
	})
	if err != nil {
		return nil, err
	}
	return &listenerv3.Listener{
		Name:              name,
		ListenerSpecifier: &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: manager},
		}}}},
	}, nil
}
