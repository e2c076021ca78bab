package translate

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitservicev3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// limitTogether asks a rate limit service. Each question says what the limit is, so the service needs no
// configuration but its domain, and there is no second place for limits that could lag behind.
func (b *builder) limitTogether(e *entry, a *model.Attachment, limits []*routev3.RateLimit) error {
	g := a.RateLimit.Global
	service, err := b.grpcService(g.Service, 0) // the filter has a timeout of its own
	if err != nil {
		return err
	}
	for i, l := range limits {
		r := a.RateLimit.Rules[i]
		l.Limit = &routev3.RateLimit_Override{OverrideSpecifier: &routev3.RateLimit_Override_RateLimit{
			RateLimit: &routev3.RateLimit_Override_RateLimitOverride{RequestsPerUnit: r.Requests, Unit: limitUnit(r.Per)},
		}}
	}
	name := a.Namespace + "/" + a.Name
	enforced := always()
	if a.RateLimit.DryRun {
		enforced = never()
	}
	perFilter(e.route, filterGlobal, execute("ratelimit", &ratelimitv3.RateLimit{
		Domain:                         g.Domain,
		Timeout:                        seconds(g.Timeout),
		FailureModeDeny:                a.RateLimit.Closed(),
		StatusOnError:                  &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		RateLimitedAsResourceExhausted: true,
		RateLimitService:               &ratelimitservicev3.RateLimitServiceConfig{GrpcService: service, TransportApiVersion: corev3.ApiVersion_V3},
		FilterEnforced:                 enforced,
		RateLimits:                     limits,
		ResponseHeadersToAdd:           []*corev3.HeaderValueOption{setHeader(headerLimited, "RateLimit "+name)},
		EnableRetryAfterHeader:         true,
	}))
	return nil
}

func limitUnit(d time.Duration) typev3.RateLimitUnit {
	switch d {
	case time.Second:
		return typev3.RateLimitUnit_SECOND
	case time.Minute:
		return typev3.RateLimitUnit_MINUTE
	case time.Hour:
		return typev3.RateLimitUnit_HOUR
	}
	return typev3.RateLimitUnit_DAY
}
