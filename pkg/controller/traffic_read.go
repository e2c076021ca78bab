package controller

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// or is what a pointer points to, or the default where it is nil.
func or[T any](p *T, def T) T {
	if p == nil {
		return def
	}
	return *p
}

func count(p *int32, def uint32) uint32 { return uint32(max(or(p, int32(def)), 0)) }

func lasting(p *api.Duration, def time.Duration) time.Duration {
	if p == nil {
		return def
	}
	return cmp.Or(p.Value(), def)
}

func bound(p *api.Duration) *time.Duration {
	if p == nil {
		return nil
	}
	v := p.Value()
	return &v
}

func limit(p *int32) *uint32 {
	if p == nil {
		return nil
	}
	v := count(p, 0)
	return &v
}

func timeouts(in *api.Timeouts) *model.Timeouts {
	if in == nil {
		return nil
	}
	return &model.Timeouts{Request: bound(in.Request), PerTry: bound(in.PerTry), Idle: bound(in.Idle), Connect: lasting(in.Connect, 0)}
}

var retryConditions = map[api.RetryCondition]model.RetryCondition{
	api.RetryConnectFailure: model.RetryConnectFailure, api.RetryRefusedStream: model.RetryRefusedStream, api.RetryReset: model.RetryReset,
	api.RetryGatewayError: model.RetryGatewayError, api.RetryServerError: model.RetryServerError,
}

var grpcCodes = map[api.GRPCCode]string{
	"Cancelled": "cancelled", "DeadlineExceeded": "deadline-exceeded", "Internal": "internal",
	"ResourceExhausted": "resource-exhausted", "Unavailable": "unavailable",
}

func retries(in *api.Retries) *model.Retries {
	if in == nil {
		return nil
	}
	out := &model.Retries{Attempts: count(in.Attempts, 2), Methods: []string{"GET", "HEAD", "OPTIONS"}}
	for _, on := range in.Conditions {
		if c := retryConditions[on]; c != "" {
			out.On = append(out.On, c)
		}
	}
	if len(in.Conditions) == 0 {
		out.On = []model.RetryCondition{model.RetryConnectFailure, model.RetryRefusedStream, model.RetryReset}
	}
	for _, code := range in.StatusCodes {
		out.Codes = append(out.Codes, uint32(code))
	}
	sortUnique(&out.Codes)
	for _, code := range in.GRPCCodes {
		if c := grpcCodes[code]; c != "" {
			out.GRPC = append(out.GRPC, c)
		}
	}
	sortUnique(&out.GRPC)
	if len(in.Methods) > 0 {
		out.Methods = in.Methods
	}
	if slices.Contains(out.Methods, "*") {
		out.Methods = nil
	}
	if b := in.Backoff; b != nil {
		out.Base = b.Base.Value()
		out.Max = lasting(b.Max, 10*min(out.Base, time.Hour))
		out.Max = max(out.Max, out.Base)
	}
	if b := in.Budget; b != nil {
		out.Budget = &model.RetryBudget{Percent: or(b.Percent, 20), MinConcurrent: count(b.MinConcurrent, 3)}
	}
	return out
}

func connectionLimits(in *api.ConnectionLimits) *model.ConnectionLimits {
	if in == nil {
		return nil
	}
	return &model.ConnectionLimits{
		Connections: limit(in.MaxConnections), PerEndpoint: limit(in.MaxConnectionsPerEndpoint), Pending: limit(in.MaxPendingRequests),
		Requests: limit(in.MaxRequests), Retries: limit(in.MaxRetries), RequestsPerConnection: count(in.MaxRequestsPerConnection, 0),
	}
}

func outliers(in *api.OutlierDetection) *model.Outliers {
	if in == nil {
		return nil
	}
	out := &model.Outliers{
		ServerErrors: count(in.ConsecutiveServerErrors, 0), GatewayErrors: count(in.ConsecutiveGatewayErrors, 0),
		ConnectFailures: count(in.ConsecutiveConnectFailures, 0),
		Interval:        lasting(in.Interval, 10*time.Second), BaseEjection: lasting(in.BaseEjectionTime, 30*time.Second),
		MaxPercent: count(in.MaxEjectionPercent, 50),
	}
	out.MaxEjection = lasting(in.MaxEjectionTime, max(5*time.Minute, out.BaseEjection))
	if r := in.SuccessRate; r != nil {
		out.SuccessRate = &model.SuccessRate{Hosts: count(r.MinimumHosts, 5), Requests: count(r.RequestVolume, 100), Deviations: count(r.Deviations, 1900)}
	}
	return out
}

func keepalive(in *api.TCPKeepalive) *model.Keepalive {
	if in == nil {
		return nil
	}
	return &model.Keepalive{Time: lasting(in.Time, time.Minute), Interval: lasting(in.Interval, 10*time.Second), Probes: count(in.Probes, 3)}
}

func http2(in *api.HTTP2) *model.HTTP2 {
	if in == nil {
		return nil
	}
	return &model.HTTP2{
		Streams: count(in.MaxConcurrentStreams, 0), StreamWindow: count(in.InitialStreamWindow, 0), ConnectionWindow: count(in.InitialConnectionWindow, 0),
	}
}

func healthChecks(in []api.HealthCheck) []model.HealthCheck {
	var out []model.HealthCheck
	for _, h := range in {
		v := model.HealthCheck{
			Port: uint16(or(h.Port, 0)), Interval: lasting(h.Interval, 10*time.Second), Timeout: lasting(h.Timeout, time.Second),
			Unhealthy: count(h.UnhealthyThreshold, 3), Healthy: count(h.HealthyThreshold, 1),
		}
		switch {
		case h.HTTP != nil:
			v.Kind, v.Path, v.Host = model.CheckHTTP, h.HTTP.Path, h.HTTP.Host
			for _, s := range h.HTTP.Statuses {
				v.Statuses = append(v.Statuses, uint32(s))
			}
		case h.GRPC != nil:
			v.Kind, v.Service = model.CheckGRPC, h.GRPC.Service
		case h.TCP != nil:
			v.Kind = model.CheckTCP
		default:
			continue
		}
		out = append(out, v)
	}
	return out
}
