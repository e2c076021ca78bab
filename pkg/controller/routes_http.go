package controller

import (
	"fmt"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

func (r *routeCompiler) httpRule(path string, in gatewayv1.HTTPRouteRule) model.RouteRule {
	var out model.RouteRule
	if in.Name != nil {
		out.Name = string(*in.Name)
	}
	for i, m := range in.Matches {
		out.Matches = append(out.Matches, r.httpMatch(&out, fmt.Sprintf("%s.matches[%d]", path, i), m))
	}
	r.httpFilters(&out, path, in.Filters)
	for i, b := range in.BackendRefs {
		at := fmt.Sprintf("%s.backendRefs[%d]", path, i)
		be := r.backend(at, b.BackendObjectReference, b.Weight)
		r.backendFilters(&be, at, b.Filters)
		out.Backends = append(out.Backends, be)
	}
	if out.Redirect != nil && len(out.Backends) > 0 {
		r.unserved(&out, path+".backendRefs", "a redirect and backends exclude each other", "leave one of them out")
	}
	r.excludes(&out, path)
	if !answersItself(&out) && len(out.Backends) == 0 && out.Invalid == "" {
		r.status.warn(path, "the rule has no backends; its requests are answered 500", "add backendRefs")
	}
	r.httpTimeouts(&out, path, in)
	r.session(&out, path, in.SessionPersistence)
	return out
}

func (r *routeCompiler) httpMatch(rule *model.RouteRule, path string, in gatewayv1.HTTPRouteMatch) model.RouteMatch {
	out := model.RouteMatch{PathKind: model.PathPrefix, Path: "/"}
	if in.Path != nil {
		if in.Path.Value != nil {
			out.Path = *in.Path.Value
		}
		if in.Path.Type != nil {
			switch *in.Path.Type {
			case gatewayv1.PathMatchExact:
				out.PathKind = model.PathExact
			case gatewayv1.PathMatchRegularExpression:
				out.PathKind = model.PathRegex
			}
		}
		switch {
		case out.PathKind == model.PathRegex:
			r.regex(rule, path+".path.value", out.Path)
		case !strings.HasPrefix(out.Path, "/"):
			r.unserved(rule, path+".path.value", fmt.Sprintf("path %q does not begin with /", out.Path), "write /"+out.Path)
		}
	}
	if in.Method != nil {
		out.Method = string(*in.Method)
	}
	for i, h := range in.Headers {
		n := model.NameMatch{Name: string(h.Name), Value: h.Value, Regex: h.Type != nil && *h.Type == gatewayv1.HeaderMatchRegularExpression}
		if n.Regex {
			r.regex(rule, fmt.Sprintf("%s.headers[%d].value", path, i), n.Value)
		}
		out.Headers = append(out.Headers, n)
	}
	for i, q := range in.QueryParams {
		n := model.NameMatch{Name: string(q.Name), Value: q.Value, Regex: q.Type != nil && *q.Type == gatewayv1.QueryParamMatchRegularExpression}
		if n.Regex {
			r.regex(rule, fmt.Sprintf("%s.queryParams[%d].value", path, i), n.Value)
		}
		out.Query = append(out.Query, n)
	}
	return out
}

// regex checks an expression; Envoy's dialect is RE2, as is Go's.
func (r *routeCompiler) regex(rule *model.RouteRule, path, expr string) {
	if _, err := regexp.Compile(expr); err != nil {
		r.unserved(rule, path, fmt.Sprintf("the regular expression %q is not RE2: %v", expr, err), "correct the expression")
	} else if expr == "" {
		r.unserved(rule, path, "the regular expression is empty", "write .* for any value")
	}
}

func (r *routeCompiler) httpFilters(rule *model.RouteRule, path string, filters []gatewayv1.HTTPRouteFilter) {
	seen := map[gatewayv1.HTTPRouteFilterType]bool{}
	for i, f := range filters {
		at := fmt.Sprintf("%s.filters[%d]", path, i)
		if seen[f.Type] && f.Type != gatewayv1.HTTPRouteFilterRequestMirror && f.Type != gatewayv1.HTTPRouteFilterExtensionRef {
			r.unserved(rule, at, fmt.Sprintf("filter %s is there twice", f.Type), "join the two")
		}
		seen[f.Type] = true
		switch {
		case f.RequestHeaderModifier != nil:
			rule.RequestHdr = headerChange(f.RequestHeaderModifier)
		case f.ResponseHeaderModifier != nil:
			rule.ResponseHdr = headerChange(f.ResponseHeaderModifier)
		case f.RequestRedirect != nil:
			r.redirect(rule, at, f.RequestRedirect)
		case f.URLRewrite != nil:
			r.rewrite(rule, at, f.URLRewrite)
		case f.RequestMirror != nil:
			r.mirror(rule, at, f.RequestMirror)
		case f.CORS != nil:
			rule.CORS = cors(f.CORS)
		case f.Type == gatewayv1.HTTPRouteFilterExtensionRef:
			r.extension(rule, at, f.ExtensionRef)
		default:
			r.unserved(rule, at, fmt.Sprintf("filter %s is not supported", f.Type), "leave it out")
		}
	}
	if rule.Redirect != nil && rule.Rewrite != nil {
		r.unserved(rule, path+".filters", "a redirect and a rewrite exclude each other", "leave one of them out")
	}
}

// backendFilters are those of one backend: only headers can be changed for a share of requests.
func (r *routeCompiler) backendFilters(be *model.Backend, path string, filters []gatewayv1.HTTPRouteFilter) {
	for i, f := range filters {
		switch {
		case f.RequestHeaderModifier != nil:
			be.RequestHdr = headerChange(f.RequestHeaderModifier)
		case f.ResponseHeaderModifier != nil:
			be.ResponseHdr = headerChange(f.ResponseHeaderModifier)
		case f.Type == gatewayv1.HTTPRouteFilterExtensionRef:
			r.backendExtension(be, fmt.Sprintf("%s.filters[%d]", path, i), f.ExtensionRef)
		default:
			r.unservedShare(be, fmt.Sprintf("%s.filters[%d]", path, i), fmt.Sprintf("filter %s is not supported on a backend", f.Type), "put it on the rule")
		}
	}
}

func (r *routeCompiler) redirect(rule *model.RouteRule, path string, f *gatewayv1.HTTPRequestRedirectFilter) {
	out := &model.Redirect{Code: 302}
	if f.Scheme != nil {
		out.Scheme = *f.Scheme
	}
	if f.Hostname != nil {
		out.Host = string(*f.Hostname)
	}
	if f.Port != nil {
		out.Port = uint16(*f.Port)
	}
	if f.StatusCode != nil {
		out.Code = uint32(*f.StatusCode)
	}
	switch out.Code {
	case 301, 302, 303, 307, 308:
	default:
		r.unserved(rule, path+".requestRedirect.statusCode", fmt.Sprintf("%d is not a redirect's status", out.Code), "write 301, 302, 303, 307 or 308")
	}
	if out.Scheme != "" && out.Scheme != "http" && out.Scheme != "https" {
		r.unserved(rule, path+".requestRedirect.scheme", fmt.Sprintf("unknown scheme %q", out.Scheme), "write http or https")
	}
	out.FullPath, out.PrefixPath = r.pathModifier(rule, path+".requestRedirect.path", f.Path)
	rule.Redirect = out
}

func (r *routeCompiler) rewrite(rule *model.RouteRule, path string, f *gatewayv1.HTTPURLRewriteFilter) {
	out := &model.Rewrite{}
	if f.Hostname != nil {
		out.Host = string(*f.Hostname)
	}
	out.FullPath, out.PrefixPath = r.pathModifier(rule, path+".urlRewrite.path", f.Path)
	rule.Rewrite = out
}

// pathModifier returns the new path or the new prefix. A prefix can be replaced only where one is matched.
func (r *routeCompiler) pathModifier(rule *model.RouteRule, path string, m *gatewayv1.HTTPPathModifier) (full, prefix *string) {
	if m == nil {
		return nil, nil
	}
	empty := ""
	if m.Type == gatewayv1.FullPathHTTPPathModifier {
		if full = m.ReplaceFullPath; full == nil {
			full = &empty
		}
		return full, nil
	}
	if m.Type != gatewayv1.PrefixMatchHTTPPathModifier {
		r.unserved(rule, path+".type", fmt.Sprintf("unknown type %q", m.Type), "write ReplaceFullPath or ReplacePrefixMatch")
		return nil, nil
	}
	for _, match := range rule.Matches {
		if match.PathKind != model.PathPrefix || match.Path != rule.Matches[0].Path {
			r.unserved(rule, path, "a prefix can be replaced only where all matches of the rule have the same prefix", "match by PathPrefix, one rule for each prefix")
			break
		}
	}
	if prefix = m.ReplacePrefixMatch; prefix == nil {
		prefix = &empty
	}
	return nil, prefix
}
