package translate

import (
	"regexp"
	"strconv"
	"strings"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// cors lets pages of other origins read answers. Preflights are answered here; to an origin that is not allowed
// without the headers that would allow it.
func cors(route *routev3.Route, c *model.CORS) {
	if c == nil {
		return
	}
	out := &corsv3.CorsPolicy{
		AllowMethods:                 strings.Join(c.Methods, ", "),
		AllowHeaders:                 strings.Join(c.Headers, ", "),
		ExposeHeaders:                strings.Join(c.Expose, ", "),
		AllowCredentials:             boolValue(c.Credentials),
		ForwardNotMatchingPreflights: boolValue(false),
	}
	if c.MaxAge > 0 {
		out.MaxAge = strconv.Itoa(int(c.MaxAge))
	}
	for _, o := range c.Origins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, originMatch(o))
	}
	perFilter(route, filterCORS, pack(out))
	if c.Credentials {
		echoWildcards(route, c)
	}
}

// originMatch takes * for any beginning of a host, and the scheme's own port for none.
func originMatch(o string) *matcherv3.StringMatcher {
	if o == "*" {
		return regexMatch(".*")
	}
	scheme, host, _ := strings.Cut(o, "://")
	port := map[string]string{"http": "(:80)?", "https": "(:443)?"}[scheme]
	if _, p, found := strings.Cut(host, ":"); found {
		port = ""
		if p == "80" && scheme == "http" || p == "443" && scheme == "https" {
			host, port = strings.TrimSuffix(host, ":"+p), "(:"+p+")?"
		}
	}
	expr := strings.ReplaceAll(regexp.QuoteMeta(host), `\*`, `[^/]+`)
	return regexMatch("(?i)" + regexp.QuoteMeta(scheme) + "://" + expr + port)
}

// echoWildcards names what was asked for where * would be answered: to requests with credentials * means nothing.
func echoWildcards(route *routev3.Route, c *model.CORS) {
	var all []*mutationv3.HeaderMutation
	for _, h := range []struct {
		list          []string
		answer, asked string
	}{
		{c.Methods, "access-control-allow-methods", "access-control-request-method"},
		{c.Headers, "access-control-allow-headers", "access-control-request-headers"},
		{c.Expose, "access-control-expose-headers", ""},
	} {
		if len(h.list) != 1 || h.list[0] != "*" {
			continue
		}
		m := &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: h.answer}}
		if h.asked != "" {
			m.Action = &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: h.answer, Value: "%REQ(" + h.asked + ")%"},
				AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS,
			}}
		}
		all = append(all, m)
	}
	if len(all) > 0 {
		perFilter(route, filterAnswer, pack(&headermutationv3.HeaderMutationPerRoute{Mutations: &headermutationv3.Mutations{ResponseMutations: all}}))
	}
}
