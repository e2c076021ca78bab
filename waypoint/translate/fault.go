package translate

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
)

// A faultRule is one match of one fault: further conditions on a request, and what to do to it.
type faultRule struct {
	conds conds
	from  *matcherv3.FilterStateMatcher // nil: all callers
	all   bool                          // no conditions
	any   *anypb.Any
	draw  *anypb.Any // of the delay's length; nil: it is fixed
}

// faultsOf are a target's faults, compiled once for all of its routes.
type faultsOf struct {
	b    *builder
	t    *target
	done map[*model.Fault][]faultRule
}

// rules lists the faults of an entry in the order they are tried, those with the narrowest target first.
func (f *faultsOf) rules(e *entry) (out []faultRule, owners []Source) {
	add := func(at model.Target) {
		for _, fault := range f.b.faults[at] {
			owners = append(owners, faultSource(fault))
			out = append(out, f.compile(fault)...)
		}
	}
	if e.of != nil {
		if e.rule != nil && e.rule.Name != "" {
			add(model.Target{Route: e.of.Key(), Rule: e.rule.Name})
		}
		add(model.Target{Route: e.of.Key()})
	}
	if service := f.t.serviceKey(); service != "" {
		add(model.Target{Service: service, Port: f.t.port})
		add(model.Target{Service: service})
	}
	return out, owners
}

// compile leaves rules that cannot be compiled out, with a problem: they make things worse on purpose, so
// without them nothing is open.
func (f *faultsOf) compile(fault *model.Fault) []faultRule {
	if rules, ok := f.done[fault]; ok {
		return rules
	}
	var out []faultRule
	for i, r := range fault.Rules {
		rules, err := compileFault(r)
		if err != nil {
			f.b.problem(faultSource(fault), "rule %d is not in force: %v", i, err)
			continue
		}
		out = append(out, rules...)
	}
	f.done[fault] = out
	return out
}

func compileFault(r model.FaultRule) ([]faultRule, error) {
	fault, err := httpFault(r)
	if err != nil {
		return nil, err
	}
	if fault == nil {
		return nil, nil
	}
	from := callersAmong(r.From)
	packed, draw := pack(fault), drawing(r)
	var out []faultRule
	for _, m := range matches(r.Matches) {
		c, err := conditions(m)
		if err != nil {
			return nil, err
		}
		path, err := pathCondition(m)
		if err != nil {
			return nil, err
		}
		if path != nil {
			c.headers = append(c.headers, path)
		}
		for _, h := range c.headers {
			if err := h.ValidateAll(); err != nil {
				return nil, err
			}
		}
		for _, q := range c.query {
			if err := q.ValidateAll(); err != nil {
				return nil, err
			}
		}
		out = append(out, faultRule{conds: c, from: from, all: len(c.headers)+len(c.query) == 0 && from == nil, any: packed, draw: draw})
	}
	return out, nil
}

// callersAmong matches any of some callers by their certificates; nil is everybody.
func callersAmong(from []model.CallerMatch) *matcherv3.FilterStateMatcher {
	if len(from) == 0 {
		return nil
	}
	return &matcherv3.FilterStateMatcher{Key: statePeer, Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: regexMatch(callersPattern(from))}}
}

// callersPattern is a regular expression of the identities of some callers.
func callersPattern(from []model.CallerMatch) string {
	any := []string{`/`} // nobody's: no identity is that
	for _, m := range from {
		for _, a := range m.ServiceAccounts {
			if len(m.Namespaces) == 0 || slices.Contains(m.Namespaces, a.Namespace) {
				any = append(any, regexp.QuoteMeta(a.Namespace)+"/sa/"+regexp.QuoteMeta(a.ServiceAccount))
			}
		}
		for _, ns := range m.Namespaces {
			if len(m.ServiceAccounts) == 0 {
				any = append(any, regexp.QuoteMeta(ns)+"/sa/[^/]+")
			}
		}
	}
	return spiffe + "[^/]+/ns/(" + strings.Join(any, "|") + ")"
}

// pathCondition says a path match as a condition on the :path header, so that it can be joined to any
// route's own path match.
func pathCondition(m model.RouteMatch) (*routev3.HeaderMatcher, error) {
	const query = `(\?.*)?`
	switch m.PathKind {
	case model.PathExact:
		return headerRegex(":path", regexp.QuoteMeta(m.Path)+query), nil
	case model.PathPrefix:
		p := strings.TrimRight(m.Path, "/")
		if p == "" {
			return nil, nil
		}
		return headerRegex(":path", regexp.QuoteMeta(p)+`(/[^?]*)?`+query), nil
	case model.PathRegex:
		if err := checkRegex(m.Path); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		return headerRegex(":path", `(?:`+m.Path+`)`+query), nil
	}
	return nil, nil
}

// httpFault is nil for a rule that does nothing.
func httpFault(r model.FaultRule) (*faultv3.HTTPFault, error) {
	out := &faultv3.HTTPFault{}
	if r.AbortPercent > 0 {
		out.Abort = &faultv3.FaultAbort{Percentage: percent(r.AbortPercent)}
		switch {
		case r.AbortGRPC != nil:
			out.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: *r.AbortGRPC}
		case r.AbortStatus != 0:
			out.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: r.AbortStatus}
		default:
			out.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: 503}
		}
	}
	if r.DelayPercent > 0 && r.Delay > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			Percentage:         percent(r.DelayPercent),
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: seconds(r.Delay)},
		}
		if r.Spread != nil {
			out.Delay.FaultDelaySecifier = &commonfaultv3.FaultDelay_HeaderDelay_{HeaderDelay: &commonfaultv3.FaultDelay_HeaderDelay{}}
		}
	}
	if r.BandwidthPercent > 0 && r.Bandwidth > 0 {
		out.ResponseRateLimit = &commonfaultv3.FaultRateLimit{
			Percentage: percent(r.BandwidthPercent),
			LimitType:  &commonfaultv3.FaultRateLimit_FixedLimit_{FixedLimit: &commonfaultv3.FaultRateLimit_FixedLimit{LimitKbps: max(r.Bandwidth/1024, 1)}},
		}
	}
	if out.Abort == nil && out.Delay == nil && out.ResponseRateLimit == nil {
		return nil, nil
	}
	return out, out.ValidateAll()
}

// percent keeps four decimals.
func percent(p float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{
		Numerator:   uint32(math.Round(min(max(p, 0), 100) * 10_000)),
		Denominator: typev3.FractionalPercent_MILLION,
	}
}

// withFaults puts a copy of the route for each fault before it, narrowed to what the fault matches: the
// first fault that matches wins, and a request that none matches takes the route as it was.
func withFaults(route *routev3.Route, faults []faultRule) []*routev3.Route {
	var out []*routev3.Route
	for i, f := range faults {
		r := proto.Clone(route).(*routev3.Route)
		r.Name = fmt.Sprintf("%s/fault/%d", route.Name, i)
		r.Match.Headers = append(r.Match.Headers, f.conds.headers...)
		r.Match.QueryParameters = append(r.Match.QueryParameters, f.conds.query...)
		if f.from != nil {
			r.Match.FilterState = append(r.Match.FilterState, f.from)
		}
		if r.TypedPerFilterConfig == nil {
			r.TypedPerFilterConfig = map[string]*anypb.Any{}
		}
		r.TypedPerFilterConfig[filterFault] = f.any
		if f.draw != nil {
			r.TypedPerFilterConfig[filterFaultDelay] = f.draw
			r.RequestHeadersToRemove = append(r.RequestHeadersToRemove, headerFaultDelay)
		}
		out = append(out, r)
		if f.all {
			return out
		}
	}
	return append(out, route)
}
