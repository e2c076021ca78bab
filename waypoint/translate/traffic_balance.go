package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// balance says how a cluster chooses an endpoint, and notes what its routes have to hash for that.
func (b *builder) balance(c *clusterv3.Cluster, p *model.Balance) {
	if p == nil {
		return
	}
	c.CommonLbConfig.HealthyPanicThreshold = &typev3.Percent{Value: float64(p.Panic)}
	switch p.Algorithm {
	case model.RoundRobin:
		c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
		if s := p.SlowStart; s != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slowStart(s)}}
		}
	case model.RandomEndpoint:
		c.LbPolicy = clusterv3.Cluster_RANDOM
	case model.RingHash:
		c.LbPolicy = clusterv3.Cluster_RING_HASH
		b.hashes[c.Name] = p.Hash
	case model.Maglev:
		c.LbPolicy = clusterv3.Cluster_MAGLEV
		b.hashes[c.Name] = p.Hash
	default:
		if s := p.SlowStart; s != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(s)}}
		}
	}
}

func slowStart(s *model.SlowStart) *clusterv3.Cluster_SlowStartConfig {
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  seconds(s.Window),
		Aggression:       &corev3.RuntimeDouble{DefaultValue: s.Aggression, RuntimeKey: "weft.slow_start.aggression"},
		MinWeightPercent: &typev3.Percent{Value: float64(s.MinPercent)},
	}
}

// hashPolicies is what a route hashes for the clusters it leads to.
func (b *builder) hashPolicies(action *routev3.RouteAction) []*routev3.RouteAction_HashPolicy {
	var out []*routev3.RouteAction_HashPolicy
	seen := map[model.Hash]bool{}
	for _, name := range clustersOf(action) {
		h := b.hashes[name]
		if h == nil || seen[*h] {
			continue
		}
		seen[*h] = true
		out = append(out, hashPolicy(h))
	}
	return out
}

func hashPolicy(h *model.Hash) *routev3.RouteAction_HashPolicy {
	out := &routev3.RouteAction_HashPolicy{}
	switch {
	case h.Header != "":
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.Header}}
	case h.Query != "":
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: h.Query}}
	case h.Cookie != "":
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: &routev3.RouteAction_HashPolicy_Cookie{
			Name: h.Cookie, Ttl: seconds(h.TTL), Path: h.Path,
			Attributes: []*routev3.RouteAction_HashPolicy_CookieAttribute{{Name: "HttpOnly"}},
		}}
	case h.Identity:
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_FilterState_{FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: statePeer}}
	default:
		out.PolicySpecifier = &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}
	}
	return out
}
