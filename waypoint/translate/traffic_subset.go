package translate

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// metaLB is the metadata that Envoy compares between routes and endpoints.
const metaLB = "envoy.lb"

// restrict keeps a route to the subset that its policies name. One that is said of the service itself
// holds for its own endpoints; one that is said of a route, for all endpoints that the route leads to.
func (b *builder) restrict(action *routev3.RouteAction, t *target, e *entry) {
	var ofRoute, ofService map[string]string
	for _, a := range b.attached(kindTraffic, t, e.of, e.rule) {
		switch {
		case len(a.Traffic.Subset) == 0:
		case a.Target.Route != "" && ofRoute == nil:
			ofRoute = a.Traffic.Subset
		case a.Target.Route == "" && ofService == nil:
			ofService = a.Traffic.Subset
		}
	}
	if ofRoute != nil {
		action.MetadataMatch = strMeta(metaLB, ofRoute)
		return
	}
	if ofService == nil {
		return
	}
	if action.GetCluster() == t.name {
		action.MetadataMatch = strMeta(metaLB, ofService)
	}
	for _, w := range action.GetWeightedClusters().GetClusters() {
		if w.Name == t.name {
			w.MetadataMatch = strMeta(metaLB, ofService)
		}
	}
}

// subsets has a cluster tell endpoints apart by all labels that a route to it may ask for. A subset that
// nobody is in serves nobody: requests do not go to others instead.
func (b *builder) subsets(t *target, c *clusterv3.Cluster) []Source {
	of := b.subsetsOf[clusterName(t.serviceKey(), t.port)]
	if of == nil {
		return nil
	}
	lb := &clusterv3.Cluster_LbSubsetConfig{
		FallbackPolicy:      clusterv3.Cluster_LbSubsetConfig_ANY_ENDPOINT,
		LocalityWeightAware: c.GetCommonLbConfig().GetLocalityWeightedLbConfig() != nil,
	}
	for _, keys := range sorted(of.keys) {
		lb.SubsetSelectors = append(lb.SubsetSelectors, &clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{
			Keys: keys, FallbackPolicy: clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_NO_FALLBACK,
		})
	}
	c.LbSubsetConfig = lb
	return of.owners
}

// clusterSubsets is what subsets ask of one cluster.
type clusterSubsets struct {
	keys   map[string][]string // sets of labels
	owners []Source
}

// indexSubsets finds the clusters that requests with a subset can get to.
func (b *builder) indexSubsets() {
	b.subsetsOf = map[string]*clusterSubsets{}
	byRoute := map[string][]*model.Route{}
	for _, r := range sorted(b.snap.Routes) {
		byRoute[r.Key()] = append(byRoute[r.Key()], r)
	}
	for _, a := range b.attachments.all {
		if a.Kind != kindTraffic || len(a.Traffic.Subset) == 0 {
			continue
		}
		if s := b.snap.Services[a.Target.Service]; s != nil {
			for _, p := range s.Ports {
				b.subset(a, clusterName(s.Key(), p.ServicePort))
			}
		}
		for _, r := range byRoute[a.Target.Route] {
			for _, rule := range r.Rules {
				if a.Target.Rule != "" && a.Target.Rule != rule.Name {
					continue
				}
				for _, be := range rule.Backends {
					b.subset(a, clusterName(be.Service, be.Port))
				}
			}
		}
	}
}

func (b *builder) subset(a *model.Attachment, cluster string) {
	of := b.subsetsOf[cluster]
	if of == nil {
		of = &clusterSubsets{keys: map[string][]string{}}
		b.subsetsOf[cluster] = of
	}
	set := sortedKeys(a.Traffic.Subset)
	of.keys[strings.Join(set, ",")] = set
	of.owners = append(of.owners, attachmentSource(a))
}

// label gives an endpoint's metadata the labels that subsets name.
func label(meta *corev3.Metadata, w *model.Workload) {
	if len(w.Labels) > 0 {
		meta.FilterMetadata[metaLB] = strMeta(metaLB, w.Labels).FilterMetadata[metaLB]
	}
}
