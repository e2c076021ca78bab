package controller

import (
	"fmt"
	"regexp"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// gep2257 is Gateway API's form of durations.
var gep2257 = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

// duration reads a duration; nil is 0.
func (r *routeCompiler) duration(rule *model.RouteRule, path string, d *gatewayv1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	v, err := time.ParseDuration(string(*d))
	if err != nil || !gep2257.MatchString(string(*d)) {
		r.unserved(rule, path, fmt.Sprintf("%q is not a duration", *d), "write e.g. 1s, 500ms or 1m30s")
		return 0
	}
	return v
}

func (r *routeCompiler) httpTimeouts(rule *model.RouteRule, path string, in gatewayv1.HTTPRouteRule) {
	if t := in.Timeouts; t != nil {
		rule.Timeout = r.duration(rule, path+".timeouts.request", t.Request)
		rule.NoTimeout = t.Request != nil && rule.Timeout == 0 && rule.Invalid == ""
		rule.TryTimeout = r.duration(rule, path+".timeouts.backendRequest", t.BackendRequest)
		if rule.Timeout > 0 && rule.TryTimeout > rule.Timeout {
			r.unserved(rule, path+".timeouts.backendRequest", fmt.Sprintf("one attempt may take %v, the whole request only %v", rule.TryTimeout, rule.Timeout), "make the first the shorter")
		}
	}
	if in.Retry == nil {
		return
	}
	rule.Retry = &model.Retry{Attempts: 1, Backoff: r.duration(rule, path+".retry.backoff", in.Retry.Backoff)}
	if a := in.Retry.Attempts; a != nil {
		if *a < 1 || *a > 100 {
			r.unserved(rule, path+".retry.attempts", fmt.Sprintf("%d attempts", *a), "write 1 to 100, or leave retry out")
		}
		rule.Retry.Attempts = uint32(min(max(*a, 1), 100))
	}
	for _, code := range in.Retry.Codes {
		if code < 400 || code > 599 {
			r.unserved(rule, path+".retry.codes", fmt.Sprintf("%d is not the status of a failure", code), "write 400 to 599")
			continue
		}
		rule.Retry.Codes = append(rule.Retry.Codes, uint32(code))
	}
}
