package source

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

func validateHTTPRoute(v *inspection, r *gatewayv1.HTTPRoute) {
	validateParents(v, r.Spec.ParentRefs)
	for i, rule := range r.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		for j, m := range rule.Matches {
			validateHTTPMatch(v, fmt.Sprintf("%s.matches[%d]", at, j), m)
		}
		validateHTTPFilters(v, at, rule.Filters)
		for j, b := range rule.BackendRefs {
			to := fmt.Sprintf("%s.backendRefs[%d]", at, j)
			validateBackend(v, to, b.BackendRef)
			validateHTTPFilters(v, to, b.Filters)
		}
	}
}

func validateHTTPMatch(v *inspection, at string, m gatewayv1.HTTPRouteMatch) {
	if m.Path != nil && m.Path.Type != nil {
		oneOf(v, at+".path.type", *m.Path.Type, gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix, gatewayv1.PathMatchRegularExpression)
	}
	if m.Method != nil {
		oneOf(v, at+".method", *m.Method, gatewayv1.HTTPMethodGet, gatewayv1.HTTPMethodHead, gatewayv1.HTTPMethodPost, gatewayv1.HTTPMethodPut,
			gatewayv1.HTTPMethodDelete, gatewayv1.HTTPMethodConnect, gatewayv1.HTTPMethodOptions, gatewayv1.HTTPMethodTrace, gatewayv1.HTTPMethodPatch)
	}
	for i, h := range m.Headers {
		to := fmt.Sprintf("%s.headers[%d]", at, i)
		if h.Type != nil {
			oneOf(v, to+".type", *h.Type, gatewayv1.HeaderMatchExact, gatewayv1.HeaderMatchRegularExpression)
		}
		if h.Name == "" {
			v.fail(to, "the header's name is missing", "")
		}
	}
	for i, q := range m.QueryParams {
		to := fmt.Sprintf("%s.queryParams[%d]", at, i)
		if q.Type != nil {
			oneOf(v, to+".type", *q.Type, gatewayv1.QueryParamMatchExact, gatewayv1.QueryParamMatchRegularExpression)
		}
		if q.Name == "" {
			v.fail(to, "the parameter's name is missing", "")
		}
	}
}

// validateHTTPFilters checks that a filter is of a known type and that its part is there.
func validateHTTPFilters(v *inspection, at string, filters []gatewayv1.HTTPRouteFilter) {
	for i, f := range filters {
		to := fmt.Sprintf("%s.filters[%d]", at, i)
		parts := map[gatewayv1.HTTPRouteFilterType]bool{
			gatewayv1.HTTPRouteFilterRequestHeaderModifier:  f.RequestHeaderModifier != nil,
			gatewayv1.HTTPRouteFilterResponseHeaderModifier: f.ResponseHeaderModifier != nil,
			gatewayv1.HTTPRouteFilterRequestRedirect:        f.RequestRedirect != nil,
			gatewayv1.HTTPRouteFilterURLRewrite:             f.URLRewrite != nil,
			gatewayv1.HTTPRouteFilterRequestMirror:          f.RequestMirror != nil,
			gatewayv1.HTTPRouteFilterCORS:                   f.CORS != nil,
			gatewayv1.HTTPRouteFilterExternalAuth:           f.ExternalAuth != nil,
			gatewayv1.HTTPRouteFilterExtensionRef:           f.ExtensionRef != nil,
		}
		if there, known := parts[f.Type]; known {
			delete(parts, f.Type)
			if !there {
				v.fail(to, fmt.Sprintf("the part for type %s is missing", f.Type), "the field has the type's name in camel case")
			}
			for other, there := range parts {
				if there {
					v.fail(to, fmt.Sprintf("a filter of type %s has no part for %s", f.Type, other), "make it two filters")
				}
			}
			continue
		}
		oneOf(v, to+".type", f.Type, gatewayv1.HTTPRouteFilterRequestHeaderModifier, gatewayv1.HTTPRouteFilterResponseHeaderModifier,
			gatewayv1.HTTPRouteFilterRequestRedirect, gatewayv1.HTTPRouteFilterURLRewrite, gatewayv1.HTTPRouteFilterRequestMirror)
	}
}

func validateGRPCRoute(v *inspection, r *gatewayv1.GRPCRoute) {
	validateParents(v, r.Spec.ParentRefs)
	for i, rule := range r.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		for j, m := range rule.Matches {
			to := fmt.Sprintf("%s.matches[%d]", at, j)
			if m.Method != nil && m.Method.Type != nil {
				oneOf(v, to+".method.type", *m.Method.Type, gatewayv1.GRPCMethodMatchExact, gatewayv1.GRPCMethodMatchRegularExpression)
			}
			if m.Method != nil && m.Method.Service == nil && m.Method.Method == nil {
				v.fail(to+".method", "service or method is needed", "")
			}
			for k, h := range m.Headers {
				if h.Type != nil {
					oneOf(v, fmt.Sprintf("%s.headers[%d].type", to, k), *h.Type, gatewayv1.GRPCHeaderMatchExact, gatewayv1.GRPCHeaderMatchRegularExpression)
				}
			}
		}
		validateGRPCFilters(v, at, rule.Filters)
		for j, b := range rule.BackendRefs {
			to := fmt.Sprintf("%s.backendRefs[%d]", at, j)
			validateBackend(v, to, b.BackendRef)
			validateGRPCFilters(v, to, b.Filters)
		}
	}
}

func validateGRPCFilters(v *inspection, at string, filters []gatewayv1.GRPCRouteFilter) {
	for i, f := range filters {
		to := fmt.Sprintf("%s.filters[%d]", at, i)
		there := map[gatewayv1.GRPCRouteFilterType]bool{
			gatewayv1.GRPCRouteFilterRequestHeaderModifier:  f.RequestHeaderModifier != nil,
			gatewayv1.GRPCRouteFilterResponseHeaderModifier: f.ResponseHeaderModifier != nil,
			gatewayv1.GRPCRouteFilterRequestMirror:          f.RequestMirror != nil,
			gatewayv1.GRPCRouteFilterExtensionRef:           f.ExtensionRef != nil,
		}
		if ok, known := there[f.Type]; !known {
			oneOf(v, to+".type", f.Type, gatewayv1.GRPCRouteFilterRequestHeaderModifier, gatewayv1.GRPCRouteFilterResponseHeaderModifier,
				gatewayv1.GRPCRouteFilterRequestMirror)
		} else if !ok {
			v.fail(to, fmt.Sprintf("the part for type %s is missing", f.Type), "the field has the type's name in camel case")
		}
	}
}

func validateParents(v *inspection, refs []gatewayv1.ParentReference) {
	if len(refs) == 0 {
		v.fail("spec", "parentRefs is missing", `name the service: parentRefs: [{group: "", kind: Service, name: …}]`)
	}
	for i, p := range refs {
		if p.Name == "" {
			v.fail(fmt.Sprintf("spec.parentRefs[%d]", i), "name is missing", "")
		}
	}
}

func validateBackend(v *inspection, at string, b gatewayv1.BackendRef) {
	if b.Name == "" {
		v.fail(at, "name is missing", "")
	}
	if b.Weight != nil && (*b.Weight < 0 || *b.Weight > 1_000_000) {
		v.fail(at+".weight", fmt.Sprintf("%d is not a weight", *b.Weight), "write 0 to 1000000")
	}
	if b.Port != nil && (*b.Port < 1 || *b.Port > 65535) {
		v.fail(at+".port", fmt.Sprintf("%d is not a port", *b.Port), "write 1 to 65535")
	}
}

func validateShares(v *inspection, at string, refs []gatewayv1.BackendRef) {
	for i, b := range refs {
		validateBackend(v, fmt.Sprintf("%s.backendRefs[%d]", at, i), b)
	}
}
