package translate

import (
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/pkg/model"
)

// trafficOnCluster says how a service's endpoints are chosen, connected to, and given a rest.
func (b *builder) trafficOnCluster(t *target, c *clusterv3.Cluster) []Source {
	p, owners := b.trafficPolicy(t, nil, nil)
	if p.Timeouts != nil && p.Timeouts.Connect > 0 {
		c.ConnectTimeout = seconds(p.Timeouts.Connect)
	}
	b.balance(c, p.Balance)
	if l := p.Locality; l != nil && len(l.Distribute) > 0 {
		c.CommonLbConfig.LocalityConfigSpecifier = &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
			LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{},
		}
	}
	limits(c, p)
	if p.Outliers != nil {
		c.OutlierDetection = outlierDetection(p.Outliers)
	}
	if p.Keepalive != nil {
		c.UpstreamConnectionOptions = keepaliveOptions(p.Keepalive)
	}
	protocol(c, p)
	b.tlsToOutside(t, c, p)
	return append(owners, b.subsets(t, c)...)
}

// limits break the circuit. What is not said stays without limit.
func limits(c *clusterv3.Cluster, p *model.TrafficPolicy) {
	th := c.CircuitBreakers.Thresholds[0]
	if l := p.Limits; l != nil {
		if l.Connections != nil {
			th.MaxConnections = u32(*l.Connections)
		}
		if l.Pending != nil {
			th.MaxPendingRequests = u32(*l.Pending)
		}
		if l.Requests != nil {
			th.MaxRequests = u32(*l.Requests)
		}
		if l.Retries != nil {
			th.MaxRetries = u32(*l.Retries)
		}
		if l.PerEndpoint != nil {
			c.CircuitBreakers.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: u32(*l.PerEndpoint)}}
		}
	}
	if p.Retries != nil && p.Retries.Budget != nil {
		th.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent: &typev3.Percent{Value: p.Retries.Budget.Percent}, MinRetryConcurrency: u32(p.Retries.Budget.MinConcurrent),
		}
	}
}

// outlierDetection counts what Envoy sees as one: a tunnel that fails looks like an answer of 503, and would
// not be counted at all were the two told apart.
func outlierDetection(o *model.Outliers) *clusterv3.OutlierDetection {
	gateway := o.GatewayErrors
	if gateway == 0 || o.ConnectFailures > 0 && o.ConnectFailures < gateway {
		gateway = o.ConnectFailures
	}
	out := &clusterv3.OutlierDetection{
		Interval: seconds(o.Interval), BaseEjectionTime: seconds(o.BaseEjection), MaxEjectionTime: seconds(o.MaxEjection),
		MaxEjectionPercent: u32(o.MaxPercent),
		Consecutive_5Xx:    u32(max(o.ServerErrors, 1)), EnforcingConsecutive_5Xx: enforcing(o.ServerErrors),
		ConsecutiveGatewayFailure: u32(max(gateway, 1)), EnforcingConsecutiveGatewayFailure: enforcing(gateway),
		EnforcingSuccessRate: u32(0),
	}
	if r := o.SuccessRate; r != nil {
		out.EnforcingSuccessRate = u32(100)
		out.SuccessRateMinimumHosts, out.SuccessRateRequestVolume = u32(r.Hosts), u32(r.Requests)
		out.SuccessRateStdevFactor = u32(r.Deviations)
	}
	return out
}

func enforcing(threshold uint32) *wrapperspb.UInt32Value {
	if threshold > 0 {
		return u32(100)
	}
	return u32(0)
}

// protocol says what is spoken to the application, and how.
func protocol(c *clusterv3.Cluster, p *model.TrafficPolicy) {
	perConnection := uint32(0)
	if p.Limits != nil {
		perConnection = p.Limits.RequestsPerConnection
	}
	if c.TypedExtensionProtocolOptions == nil || p.Protocol == "" && p.HTTP2 == nil && perConnection == 0 {
		return // not HTTP, or nothing is asked for
	}
	opts := &httpv3.HttpProtocolOptions{}
	if err := c.TypedExtensionProtocolOptions[httpOptions].UnmarshalTo(opts); err != nil {
		return
	}
	switch {
	case strings.HasPrefix(c.Name, grpcPrefix): // what Envoy itself calls speaks gRPC
	case p.Protocol == model.AppHTTP2:
		opts = appOptions(model.AppHTTP2)
	case p.Protocol == model.AppHTTP:
		opts = &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: headerLimits(), UpstreamProtocolOptions: explicitHTTP1()}
	}
	if p.HTTP2 != nil {
		tune(opts, p.HTTP2)
	}
	if perConnection > 0 {
		opts.CommonHttpProtocolOptions = headerLimits()
		opts.CommonHttpProtocolOptions.MaxRequestsPerConnection = u32(perConnection)
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(opts)}
}

func explicitHTTP1() *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{EnableTrailers: true}},
	}}
}

func tune(opts *httpv3.HttpProtocolOptions, h *model.HTTP2) {
	h2 := opts.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions()
	if h2 == nil {
		h2 = opts.GetExplicitHttpConfig().GetHttp2ProtocolOptions()
	}
	if h2 == nil {
		return
	}
	if h.Streams > 0 {
		h2.MaxConcurrentStreams = u32(h.Streams)
	}
	if h.StreamWindow > 0 {
		h2.InitialStreamWindowSize = u32(h.StreamWindow)
	}
	if h.ConnectionWindow > 0 {
		h2.InitialConnectionWindowSize = u32(h.ConnectionWindow)
	}
}
