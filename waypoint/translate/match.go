package translate

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/pkg/model"
)

func anyRequest() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

// requestMatch compiles a match of a route. The error says what Envoy could not take.
func requestMatch(m model.RouteMatch, grpc bool) (*routev3.RouteMatch, error) {
	out := anyRequest()
	switch m.PathKind {
	case model.PathExact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path}
	case model.PathPrefix:
		if p := strings.TrimRight(m.Path, "/"); p != "" {
			out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p}
		}
	case model.PathRegex:
		if err := checkRegex(m.Path); err != nil {
			return nil, fmt.Errorf("path: %w", err)
		}
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.Path)}
	}
	if grpc {
		out.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	conds, err := conditions(m)
	if err != nil {
		return nil, err
	}
	out.Headers = conds.headers
	out.QueryParameters = conds.query
	return out, out.ValidateAll()
}

// conds are the conditions of a match beside its path.
type conds struct {
	headers []*routev3.HeaderMatcher
	query   []*routev3.QueryParameterMatcher
}

// conditions compiles method, headers and query parameters. Of several conditions on one name the first
// counts, as Gateway API says.
func conditions(m model.RouteMatch) (conds, error) {
	var out conds
	if m.Method != "" {
		out.headers = append(out.headers, headerExact(":method", m.Method))
	}
	seen := map[string]bool{}
	for _, h := range m.Headers {
		name := strings.ToLower(h.Name)
		if seen[name] {
			continue
		}
		seen[name] = true
		if name == "host" {
			name = ":authority"
		}
		if h.Regex {
			if err := checkRegex(h.Value); err != nil {
				return conds{}, fmt.Errorf("header %s: %w", h.Name, err)
			}
			out.headers = append(out.headers, headerRegex(name, h.Value))
			continue
		}
		out.headers = append(out.headers, headerExact(name, h.Value))
	}
	clear(seen)
	for _, q := range m.Query {
		if seen[q.Name] {
			continue
		}
		seen[q.Name] = true
		value := exactMatch(q.Value)
		if q.Regex {
			if err := checkRegex(q.Value); err != nil {
				return conds{}, fmt.Errorf("query parameter %s: %w", q.Name, err)
			}
			value = regexMatch(q.Value)
		}
		out.query = append(out.query, &routev3.QueryParameterMatcher{
			Name:                         q.Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: value},
		})
	}
	return out, nil
}

// withoutRegexes widens a match to what no regular expression narrows, for a route whose expressions
// cannot be used: all that it might have matched is answered for.
func withoutRegexes(m model.RouteMatch) model.RouteMatch {
	out := model.RouteMatch{PathKind: m.PathKind, Path: m.Path, Method: m.Method}
	if m.PathKind == model.PathRegex {
		out.PathKind, out.Path = model.PathAny, ""
	}
	for _, h := range m.Headers {
		if !h.Regex {
			out.Headers = append(out.Headers, h)
		}
	}
	for _, q := range m.Query {
		if !q.Regex {
			out.Query = append(out.Query, q)
		}
	}
	return out
}

// checkRegex finds what RE2 cannot parse. Whether Envoy takes an expression for too big only Envoy knows.
func checkRegex(s string) error {
	if s == "" {
		return fmt.Errorf("the regular expression is empty; write .* for any value")
	}
	if _, err := regexp.Compile(s); err != nil {
		return fmt.Errorf("the regular expression is not RE2: %w", err)
	}
	return nil
}

func headerExact(name, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exactMatch(value)}}
}

func headerRegex(name, value string) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: regexMatch(value)}}
}
