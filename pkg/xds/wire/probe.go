package wire

import (
	"github.com/weftmesh/weft/pkg/model"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

var (
	checkToWire = map[model.CheckKind]weftv1.HealthCheck_Kind{
		model.CheckTCP: weftv1.HealthCheck_TCP, model.CheckHTTP: weftv1.HealthCheck_HTTP, model.CheckGRPC: weftv1.HealthCheck_GRPC,
	}
	checkFromWire = invert(checkToWire)
)

func encodeProbe(p *model.Probe) *weftv1.HealthCheck {
	return &weftv1.HealthCheck{
		ServicePort: uint32(p.ServicePort), Port: uint32(p.Port), Kind: checkToWire[p.Kind], Path: text(p.Path), Host: text(p.Host),
		Statuses: p.Statuses, GrpcService: text(p.Service), Interval: encodeDuration(p.Interval), Timeout: encodeDuration(p.Timeout),
		UnhealthyThreshold: p.Unhealthy, HealthyThreshold: p.Healthy,
	}
}

func (r *reader) probe(in *weftv1.HealthCheck) model.Probe {
	p := model.Probe{HealthCheck: model.HealthCheck{
		Kind: checkFromWire[in.GetKind()], Path: in.GetPath(), Host: in.GetHost(), Statuses: in.GetStatuses(), Service: in.GetGrpcService(),
		Interval: r.duration("interval", in.GetInterval()), Timeout: r.duration("timeout", in.GetTimeout()),
		Unhealthy: in.GetUnhealthyThreshold(), Healthy: in.GetHealthyThreshold(),
	}}
	var err error
	if p.ServicePort, err = decodePort(in.GetServicePort()); err != nil {
		r.bad("%w", err)
	}
	if p.Port, err = decodePort(in.GetPort()); err != nil {
		r.bad("%w", err)
	}
	if p.Kind == "" || p.Interval <= 0 || p.Timeout <= 0 || p.Unhealthy == 0 || p.Healthy == 0 {
		r.bad("a health check of kind %v every %v, with timeout %v and thresholds %d and %d", in.GetKind(), p.Interval, p.Timeout, p.Unhealthy, p.Healthy)
	}
	return p
}
