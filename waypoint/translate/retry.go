package translate

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	previousv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// retryOn are failures before an answer. A failed tunnel shows up as a reset, for the connection to the
// inner listener is always accepted; so reset has to be among them.
const retryOn = "connect-failure,refused-stream,reset"

// defaultRetry repeats, twice and elsewhere, requests that may be repeated: a reset does not tell whether
// the application saw the request, so by default only safe methods are.
func defaultRetry() *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn:                       retryOn,
		NumRetries:                    u32(2),
		RetryHostPredicate:            elsewhere(),
		HostSelectionRetryMaxAttempts: 5,
		RetriableRequestHeaders:       []*routev3.HeaderMatcher{headerRegex(":method", "GET|HEAD|OPTIONS")},
	}
}

// retryPolicy is what a rule says of retries, else what its TrafficPolicies say; nil leaves the virtual
// host's default.
func retryPolicy(rule *model.RouteRule, p *model.TrafficPolicy) *routev3.RetryPolicy {
	try := rule.TryTimeout
	if try == 0 && p.Timeouts != nil && p.Timeouts.PerTry != nil {
		try = *p.Timeouts.PerTry
	}
	var out *routev3.RetryPolicy
	switch {
	case rule.Retry != nil:
		out = routeRetry(rule.Retry)
	case p.Retries != nil:
		out = policyRetry(p.Retries)
	case try == 0:
		return nil
	default:
		out = defaultRetry()
	}
	if try > 0 {
		out.PerTryTimeout = seconds(try)
	}
	return out
}

// routeRetry is a route's own policy. Who asks for retries there asks for them with every method.
func routeRetry(r *model.Retry) *routev3.RetryPolicy {
	out := defaultRetry()
	out.RetriableRequestHeaders = nil
	attempts := r.Attempts
	if attempts == 0 {
		attempts = 1
	}
	out.NumRetries = u32(attempts)
	if codes := slices.Clone(r.Codes); len(codes) > 0 {
		slices.Sort(codes)
		out.RetryOn += ",retriable-status-codes"
		out.RetriableStatusCodes = slices.Compact(codes)
	}
	if r.Backoff > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(r.Backoff), MaxInterval: seconds(10 * r.Backoff)}
	}
	return out
}

// retryWords are Envoy's.
var retryWords = map[model.RetryCondition]string{
	model.RetryConnectFailure: "connect-failure", model.RetryRefusedStream: "refused-stream", model.RetryReset: "reset",
	model.RetryGatewayError: "gateway-error", model.RetryServerError: "5xx",
}

// policyRetry is a TrafficPolicy's. Its budget is the cluster's matter.
func policyRetry(r *model.Retries) *routev3.RetryPolicy {
	out := defaultRetry()
	out.NumRetries = u32(r.Attempts)
	out.RetriableRequestHeaders = nil
	if r.Attempts == 0 {
		out.RetryOn = ""
		return out
	}
	var on []string
	for _, c := range r.On {
		if w := retryWords[c]; w != "" {
			on = append(on, w)
		}
	}
	if slices.Contains(r.On, model.RetryConnectFailure) && !slices.Contains(r.On, model.RetryReset) {
		on = append(on, "reset-before-request") // as most tunnels fail that were not reached
	}
	if len(r.Codes) > 0 {
		on = append(on, "retriable-status-codes")
		out.RetriableStatusCodes = r.Codes
	}
	out.RetryOn = strings.Join(append(on, r.GRPC...), ",")
	if len(r.Methods) > 0 {
		out.RetriableRequestHeaders = append(out.RetriableRequestHeaders, headerRegex(":method", strings.Join(r.Methods, "|")))
		if len(r.GRPC) > 0 { // any header that matches will do
			out.RetriableRequestHeaders = append(out.RetriableRequestHeaders, headerRegex("content-type", "application/grpc.*"))
		}
	}
	if r.Base > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(r.Base), MaxInterval: seconds(r.Max)}
	}
	return out
}

func elsewhere() []*routev3.RetryPolicy_RetryHostPredicate {
	return []*routev3.RetryPolicy_RetryHostPredicate{{
		Name:       "envoy.retry_host_predicates.previous_hosts",
		ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previousv3.PreviousHostsPredicate{})},
	}}
}
