package controller

import (
	"fmt"
	"regexp"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

func (r *routeCompiler) grpcRule(path string, in gatewayv1.GRPCRouteRule) model.RouteRule {
	var out model.RouteRule
	if in.Name != nil {
		out.Name = string(*in.Name)
	}
	for i, m := range in.Matches {
		out.Matches = append(out.Matches, r.grpcMatch(&out, fmt.Sprintf("%s.matches[%d]", path, i), m))
	}
	seen := map[gatewayv1.GRPCRouteFilterType]bool{}
	for i, f := range in.Filters {
		at := fmt.Sprintf("%s.filters[%d]", path, i)
		if seen[f.Type] && f.Type != gatewayv1.GRPCRouteFilterRequestMirror && f.Type != gatewayv1.GRPCRouteFilterExtensionRef {
			r.unserved(&out, at, fmt.Sprintf("filter %s is there twice", f.Type), "join the two")
		}
		seen[f.Type] = true
		switch {
		case f.RequestHeaderModifier != nil:
			out.RequestHdr = headerChange(f.RequestHeaderModifier)
		case f.ResponseHeaderModifier != nil:
			out.ResponseHdr = headerChange(f.ResponseHeaderModifier)
		case f.RequestMirror != nil:
			r.mirror(&out, at, f.RequestMirror)
		case f.Type == gatewayv1.GRPCRouteFilterExtensionRef:
			r.extension(&out, at, f.ExtensionRef)
		default:
			r.unserved(&out, at, fmt.Sprintf("filter %s is not supported", f.Type), "leave it out")
		}
	}
	for i, b := range in.BackendRefs {
		at := fmt.Sprintf("%s.backendRefs[%d]", path, i)
		be := r.backend(at, b.BackendObjectReference, b.Weight)
		for j, f := range b.Filters {
			switch {
			case f.RequestHeaderModifier != nil:
				be.RequestHdr = headerChange(f.RequestHeaderModifier)
			case f.ResponseHeaderModifier != nil:
				be.ResponseHdr = headerChange(f.ResponseHeaderModifier)
			case f.Type == gatewayv1.GRPCRouteFilterExtensionRef:
				r.backendExtension(&be, fmt.Sprintf("%s.filters[%d]", at, j), f.ExtensionRef)
			default:
				r.unservedShare(&be, fmt.Sprintf("%s.filters[%d]", at, j), fmt.Sprintf("filter %s is not supported on a backend", f.Type), "put it on the rule")
			}
		}
		out.Backends = append(out.Backends, be)
	}
	r.excludes(&out, path)
	if !answersItself(&out) && len(out.Backends) == 0 && out.Invalid == "" {
		r.status.warn(path, "the rule has no backends; its requests are answered with an error", "add backendRefs")
	}
	r.session(&out, path, in.SessionPersistence)
	return out
}

// grpcMatch says service and method as a path: /service/method.
func (r *routeCompiler) grpcMatch(rule *model.RouteRule, path string, in gatewayv1.GRPCRouteMatch) model.RouteMatch {
	out := model.RouteMatch{PathKind: model.PathPrefix, Path: "/"}
	if in.Method != nil {
		service, method := "", ""
		if in.Method.Service != nil {
			service = *in.Method.Service
		}
		if in.Method.Method != nil {
			method = *in.Method.Method
		}
		if in.Method.Type != nil && *in.Method.Type == gatewayv1.GRPCMethodMatchRegularExpression {
			out.PathKind, out.Path = model.PathRegex, "/"+group(service)+"/"+group(method)
			r.regex(rule, path+".method", out.Path)
		} else {
			out.PathKind, out.Path = exactMethod(service, method)
		}
	}
	for i, h := range in.Headers {
		n := model.NameMatch{Name: string(h.Name), Value: h.Value, Regex: h.Type != nil && *h.Type == gatewayv1.GRPCHeaderMatchRegularExpression}
		if n.Regex {
			r.regex(rule, fmt.Sprintf("%s.headers[%d].value", path, i), n.Value)
		}
		out.Headers = append(out.Headers, n)
	}
	return out
}

func group(expr string) string {
	if expr == "" {
		return "[^/]+"
	}
	return "(?:" + expr + ")"
}

func exactMethod(service, method string) (model.MatchPath, string) {
	switch {
	case service != "" && method != "":
		return model.PathExact, "/" + service + "/" + method
	case service != "":
		return model.PathPrefix, "/" + service
	case method != "":
		return model.PathRegex, "/[^/]+/" + regexp.QuoteMeta(method)
	}
	return model.PathPrefix, "/"
}
