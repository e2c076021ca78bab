package translate

import (
	"slices"

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

// retry is a rule's own policy; nil leaves the virtual host's default. Who asks for retries asks for them
// with every method.
func retry(rule *model.RouteRule) *routev3.RetryPolicy {
	if rule.Retry == nil && rule.TryTimeout == 0 {
		return nil
	}
	out := defaultRetry()
	if rule.TryTimeout > 0 {
		out.PerTryTimeout = seconds(rule.TryTimeout)
	}
	if rule.Retry == nil {
		return out
	}
	out.RetriableRequestHeaders = nil
	attempts := rule.Retry.Attempts
	if attempts == 0 {
		attempts = 1
	}
	out.NumRetries = u32(attempts)
	if codes := slices.Clone(rule.Retry.Codes); len(codes) > 0 {
		slices.Sort(codes)
		out.RetryOn += ",retriable-status-codes"
		out.RetriableStatusCodes = slices.Compact(codes)
	}
	if rule.Retry.Backoff > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: seconds(rule.Retry.Backoff), MaxInterval: seconds(10 * rule.Retry.Backoff),
		}
	}
	return out
}

func elsewhere() []*routev3.RetryPolicy_RetryHostPredicate {
	return []*routev3.RetryPolicy_RetryHostPredicate{{
		Name:       "envoy.retry_host_predicates.previous_hosts",
		ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: pack(&previousv3.PreviousHostsPredicate{})},
	}}
}
