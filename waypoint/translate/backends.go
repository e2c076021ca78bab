package translate

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// backends divides requests among a rule's backends. It returns false when the whole rule is answered 500
// instead: nothing is there to take a request, as Gateway API asks.
func (b *builder) backends(t *target, route *routev3.Route, action *routev3.RouteAction, r *model.Route, rule *model.RouteRule) bool {
	var shares []*routev3.WeightedCluster_ClusterWeight
	usable, why := false, "the rule has no backends"
	for i := range rule.Backends {
		be := &rule.Backends[i]
		if be.Weight == 0 {
			continue
		}
		share, broken := b.share(be, r.Kind)
		if broken == "" {
			usable = true
			share.TypedPerFilterConfig = b.instead(t, be, rule.Mirrors, onRequest)
		} else {
			why = broken
		}
		shares = append(shares, share)
	}
	if !usable {
		fail(route, r.Kind, why)
		return false
	}
	if len(shares) == 1 && plainShare(shares[0]) {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: shares[0].Name}
		return true
	}
	scale(shares)
	action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: shares}}
	return true
}

// scale keeps the sum of weights within 32 bits, where Envoy wants it.
func scale(shares []*routev3.WeightedCluster_ClusterWeight) {
	var sum uint64
	for _, s := range shares {
		sum += uint64(s.Weight.GetValue())
	}
	if sum <= math.MaxUint32 {
		return
	}
	by := sum/math.MaxUint32 + 1
	for _, s := range shares {
		s.Weight = u32(max(1, uint32(uint64(s.Weight.GetValue())/by)))
	}
}

func plainShare(s *routev3.WeightedCluster_ClusterWeight) bool {
	return len(s.RequestHeadersToAdd)+len(s.RequestHeadersToRemove)+len(s.ResponseHeadersToAdd)+len(s.ResponseHeadersToRemove)+len(s.TypedPerFilterConfig) == 0
}

// share is one backend's part. A backend that cannot be reached keeps its part, which is answered 500.
func (b *builder) share(be *model.Backend, kind string) (share *routev3.WeightedCluster_ClusterWeight, broken string) {
	share = &routev3.WeightedCluster_ClusterWeight{Weight: u32(be.Weight)}
	name, broken := b.backendCluster(be, false)
	share.Name = name
	if broken == "" {
		if err := shareHeaders(share, be); err != nil {
			broken = err.Error()
		}
	}
	if broken != "" {
		share.RequestHeadersToAdd, share.RequestHeadersToRemove = nil, nil
		share.ResponseHeadersToAdd, share.ResponseHeadersToRemove = nil, nil
		share.TypedPerFilterConfig = map[string]*anypb.Any{filterMissing: pack(missingFault(kind))}
	}
	return share, broken
}

// shareHeaders changes headers of requests to one backend, and of their answers.
func shareHeaders(share *routev3.WeightedCluster_ClusterWeight, be *model.Backend) error {
	if _, err := requestHeaders(be.RequestHdr, &share.RequestHeadersToAdd, &share.RequestHeadersToRemove); err != nil {
		return err
	}
	if err := responseHeaders(be.ResponseHdr, &share.ResponseHeadersToAdd, &share.ResponseHeadersToRemove); err != nil {
		return err
	}
	for _, f := range be.Filters {
		if err := templates(f.Headers.Request, &share.RequestHeadersToAdd, &share.RequestHeadersToRemove); err != nil {
			return err
		}
		if err := templates(f.Headers.Response, &share.ResponseHeadersToAdd, &share.ResponseHeadersToRemove); err != nil {
			return err
		}
	}
	return nil
}

func missingFault(kind string) *faultv3.HTTPFault {
	abort := &faultv3.FaultAbort{
		ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 500},
		Percentage: &typev3.FractionalPercent{Numerator: 100, Denominator: typev3.FractionalPercent_HUNDRED},
	}
	if kind == "GRPCRoute" {
		abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: 14}
	}
	return &faultv3.HTTPFault{Abort: abort}
}

// backendCluster finds or makes the cluster of a backend, which may be any service of the mesh.
func (b *builder) backendCluster(be *model.Backend, l4 bool) (name, broken string) {
	const missing = "missing"
	if be.Invalid != "" {
		return missing, be.Invalid
	}
	s := b.snap.Services[be.Service]
	if s == nil {
		return missing, "backend service " + be.Service + " does not exist"
	}
	if why, bad := b.cfg.Refused[serviceSource(s)]; bad {
		return missing, "backend service " + be.Service + " is refused by Envoy: " + why
	}
	p, ok := s.Port(be.Port)
	if !ok {
		return missing, "backend service " + be.Service + " has no such port"
	}
	t := &target{name: clusterName(s.Key(), be.Port), port: be.Port, app: p.App, service: s, source: serviceSource(s)}
	if !l4 && (t.app == model.AppTCP || t.app == model.AppTLS) {
		t.app = model.AppUnknown // it is spoken HTTP to by this route
	}
	b.cluster(t)
	return t.name, ""
}

// mirrors copies a share of requests to further backends, whose answers are not waited for.
func (b *builder) mirrors(action *routev3.RouteAction, rule *model.RouteRule) {
	for i := range rule.Mirrors {
		name, broken := b.backendCluster(&rule.Mirrors[i], false)
		if broken != "" {
			continue // nothing is lost but the copy
		}
		action.RequestMirrorPolicies = append(action.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster: name,
			RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
				Numerator:   min(rule.Mirrors[i].Weight, 100_000) * 10,
				Denominator: typev3.FractionalPercent_MILLION,
			}},
		})
	}
}
