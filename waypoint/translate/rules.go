package translate

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// rule makes one entry for each match of a rule. A match or an action that Envoy would refuse is named in
// a problem, and answers 500.
func (b *builder) rule(t *target, r *model.Route, rule *model.RouteRule, i int) []entry {
	var out []entry
	for j, m := range matches(rule.Matches) {
		name := entryName(r, rule, i, j)
		route := &routev3.Route{Name: name, Metadata: t.metadata()}
		err := b.act(route, t, r, rule)
		if err == nil {
			route.Match, err = requestMatch(m, r.Kind == "GRPCRoute")
		}
		if err == nil {
			onlyCallers(route.Match, rule)
			err = route.ValidateAll()
		}
		if err != nil {
			b.problem(routeSource(r), "rule %d answers 500: %v", i, err)
			out = append(out, failing(name, t, r, rule, m, err.Error()))
			continue
		}
		out = append(out, entry{match: m, route: route, of: r, rule: rule})
	}
	return out
}

// refusedRule stands in for a rule of a route that Envoy refused as a whole.
func refusedRule(t *target, r *model.Route, rule *model.RouteRule, i int) []entry {
	var out []entry
	for j, m := range matches(rule.Matches) {
		out = append(out, failing(entryName(r, rule, i, j), t, r, rule, m, "refused by the waypoint"))
	}
	return out
}

// failing answers everything that a match might have matched with a server error.
func failing(name string, t *target, r *model.Route, rule *model.RouteRule, m model.RouteMatch, why string) entry {
	m = withoutRegexes(m)
	match, err := requestMatch(m, r.Kind == "GRPCRoute")
	if err != nil {
		m = model.RouteMatch{}
		match = anyRequest()
	}
	onlyCallers(match, rule)
	route := &routev3.Route{Name: name, Match: match, Metadata: t.metadata()}
	fail(route, r.Kind, why)
	return entry{match: m, route: route, of: r, rule: rule}
}

// onlyCallers narrows a match to the callers that the rule is for, by their certificates.
func onlyCallers(match *routev3.RouteMatch, rule *model.RouteRule) {
	if from := callersAmong(rule.Callers()); from != nil {
		match.FilterState = append(match.FilterState, from)
	}
}

// fail answers 500; a gRPC client is told UNAVAILABLE, which Envoy makes of 503.
func fail(route *routev3.Route, kind, why string) {
	status := uint32(500)
	if kind == "GRPCRoute" {
		status = 503
	}
	route.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: status,
		Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "weft: " + why + "\n"}},
	}}
}

func matches(ms []model.RouteMatch) []model.RouteMatch {
	if len(ms) == 0 {
		return []model.RouteMatch{{}}
	}
	return ms
}

// entryName is what access logs and traces show of a match: kind/namespace/name/rule/match.
func entryName(r *model.Route, rule *model.RouteRule, i, j int) string {
	id := rule.Name
	if id == "" {
		id = fmt.Sprint(i)
	}
	return fmt.Sprintf("%s/%s/%d", r.Key(), id, j)
}

// act sets what a rule does.
func (b *builder) act(route *routev3.Route, t *target, r *model.Route, rule *model.RouteRule) error {
	if rule.Invalid != "" {
		fail(route, r.Kind, rule.Invalid)
		return nil
	}
	host, err := requestHeaders(rule.RequestHdr, &route.RequestHeadersToAdd, &route.RequestHeadersToRemove)
	if err != nil {
		return err
	}
	if err := responseHeaders(rule.ResponseHdr, &route.ResponseHeadersToAdd, &route.ResponseHeadersToRemove); err != nil {
		return err
	}
	if err := further(route, rule); err != nil {
		return err
	}
	if route.Action != nil {
		return nil
	}
	if rule.Redirect != nil {
		return redirect(route, rule.Redirect, rule.Matches)
	}
	if rule.Timeout < 0 || rule.TryTimeout < 0 {
		return fmt.Errorf("timeouts %v and %v: neither may be negative; 0 is none", rule.Timeout, rule.TryTimeout)
	}
	action := &routev3.RouteAction{Timeout: seconds(rule.Timeout), RetryPolicy: retryPolicy(rule, &model.TrafficPolicy{})}
	if err := rewrite(action, rule.Rewrite, host, rule.Matches); err != nil {
		return err
	}
	if err := rewriteByRegex(action, rule.Filters); err != nil {
		return err
	}
	if !b.backends(t, route, action, r, rule) {
		return nil
	}
	b.mirrors(action, rule)
	route.Action = &routev3.Route_Route{Route: action}
	return nil
}
