package translate

import (
	"fmt"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/pkg/model"
)

var redirectCodes = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

func redirect(route *routev3.Route, r *model.Redirect, ms []model.RouteMatch) error {
	code := r.Code
	if code == 0 {
		code = 302
	}
	envoyCode, ok := redirectCodes[code]
	if !ok {
		return fmt.Errorf("redirect: status %d is none of 301, 302, 303, 307, 308", code)
	}
	out := &routev3.RedirectAction{ResponseCode: envoyCode, HostRedirect: r.Host, PortRedirect: uint32(r.Port)}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	switch {
	case r.FullPath != nil:
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: *r.FullPath}
	case r.PrefixPath != nil:
		re, err := replacePrefix(ms, *r.PrefixPath)
		if err != nil {
			return fmt.Errorf("redirect: %w", err)
		}
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: re}
	}
	route.Action = &routev3.Route_Redirect{Redirect: out}
	return nil
}

// rewrite changes host and path before forwarding; setHost is a Host that the header filter set.
func rewrite(a *routev3.RouteAction, r *model.Rewrite, setHost string, ms []model.RouteMatch) error {
	if setHost != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: setHost}
	}
	if r == nil {
		return nil
	}
	if r.Host != "" {
		a.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: r.Host}
	}
	switch {
	case r.FullPath != nil:
		a.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{Pattern: regex("^/.*$"), Substitution: escapeSubstitution(*r.FullPath)}
	case r.PrefixPath != nil:
		re, err := replacePrefix(ms, *r.PrefixPath)
		if err != nil {
			return fmt.Errorf("rewrite: %w", err)
		}
		a.RegexRewrite = re
	}
	return nil
}

// replacePrefix swaps the matched prefix by whole segments: /foo → /x makes /foo/bar into /x/bar, and
// /foo → / makes it into /bar. All matches of the rule must have the same prefix, as Gateway API has it.
func replacePrefix(ms []model.RouteMatch, with string) (*matcherv3.RegexMatchAndSubstitute, error) {
	prefix := ""
	for i, m := range matches(ms) {
		if m.PathKind == model.PathExact || m.PathKind == model.PathRegex {
			return nil, fmt.Errorf("a prefix can be replaced only where a prefix is matched; match the path %q as a prefix", m.Path)
		}
		p := strings.TrimRight(m.Path, "/")
		if i > 0 && p != prefix {
			return nil, fmt.Errorf("the rule matches the prefixes %q and %q, so it is not clear which to replace; make it two rules", prefix, p)
		}
		prefix = p
	}
	with = strings.TrimRight(with, "/")
	if with == "" {
		return &matcherv3.RegexMatchAndSubstitute{Pattern: regex("^" + regexp.QuoteMeta(prefix) + "/*(.*)$"), Substitution: `/\1`}, nil
	}
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern: regex("^" + regexp.QuoteMeta(prefix) + "(/.*)?$"), Substitution: escapeSubstitution(with) + `\1`,
	}, nil
}

func escapeSubstitution(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }
