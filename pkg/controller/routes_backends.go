package controller

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// backend follows a reference to a service's port. What cannot be followed says so in Invalid: its share
// of requests is answered 500.
func (r *routeCompiler) backend(path string, ref gatewayv1.BackendObjectReference, weight *int32) model.Backend {
	out := model.Backend{Weight: 1}
	if weight != nil {
		out.Weight = uint32(max(0, *weight))
	}
	broken := func(reason gatewayv1.RouteConditionReason, why, next string) model.Backend {
		out.Invalid = why
		if r.unresolved[0] == "" {
			r.unresolved = [2]string{string(reason), why}
		}
		r.status.fail(path, why+"; "+r.outcome(), next)
		return out
	}
	if ref.Group != nil && *ref.Group != "" && *ref.Group != "core" || ref.Kind != nil && *ref.Kind != "Service" {
		kind := "Service"
		if ref.Kind != nil {
			kind = string(*ref.Kind)
		}
		return broken(gatewayv1.RouteReasonInvalidKind, fmt.Sprintf("backend %s is a %s, only Services are served", ref.Name, kind), "name a Service")
	}
	ns := r.meta.Namespace
	if ref.Namespace != nil {
		ns = string(*ref.Namespace)
	}
	name := ns + "/" + string(ref.Name)
	if !r.permitted(ns, string(ref.Name)) {
		return broken(gatewayv1.RouteReasonRefNotPermitted, "backend "+name+" is in another namespace, which does not permit it",
			fmt.Sprintf("make a ReferenceGrant in namespace %s: from %s of namespace %s, to Service %s", ns, r.kind, r.meta.Namespace, ref.Name))
	}
	info := r.services[name]
	if info == nil {
		return broken(gatewayv1.RouteReasonBackendNotFound, "backend Service "+name+" does not exist", "make the Service, or correct the name")
	}
	out.Service = info.model.Key()
	if ref.Port == nil {
		return broken(gatewayv1.RouteReasonUnsupportedProtocol, "backend "+name+" names no port", fmt.Sprintf("add port: one of %s", portList(info.model)))
	}
	out.Port = uint16(*ref.Port)
	if _, ok := info.model.Port(out.Port); !ok {
		return broken(gatewayv1.RouteReasonBackendNotFound, fmt.Sprintf("backend Service %s has no TCP port %d", name, out.Port), fmt.Sprintf("it has %s", portList(info.model)))
	}
	r.reach = append(r.reach, name)
	return out
}

func portList(s *model.Service) string {
	out := ""
	for i, p := range s.Ports {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprint(p.ServicePort)
	}
	if out == "" {
		return "none"
	}
	return out
}

func headerChange(f *gatewayv1.HTTPHeaderFilter) model.HeaderChange {
	var out model.HeaderChange
	for _, h := range f.Set {
		out.Set = append(out.Set, model.Header{Name: string(h.Name), Value: h.Value})
	}
	for _, h := range f.Add {
		out.Add = append(out.Add, model.Header{Name: string(h.Name), Value: h.Value})
	}
	out.Remove = append(out.Remove, f.Remove...)
	return out
}

// mirror adds a copy of requests. A mirror whose backend is missing is left out: nothing is lost but the
// copy, and ResolvedRefs says so.
func (r *routeCompiler) mirror(rule *model.RouteRule, path string, f *gatewayv1.HTTPRequestMirrorFilter) {
	b := r.backend(path+".requestMirror.backendRef", f.BackendRef, nil)
	b.Weight = 100_000
	switch {
	case f.Percent != nil:
		if *f.Percent < 0 || *f.Percent > 100 {
			r.unserved(rule, path+".requestMirror.percent", fmt.Sprintf("%d is not a percentage", *f.Percent), "write 0 to 100")
			return
		}
		b.Weight = uint32(*f.Percent) * 1000
	case f.Fraction != nil:
		den := int32(100)
		if f.Fraction.Denominator != nil {
			den = *f.Fraction.Denominator
		}
		if den <= 0 || f.Fraction.Numerator < 0 || f.Fraction.Numerator > den {
			r.unserved(rule, path+".requestMirror.fraction", fmt.Sprintf("%d of %d is not a share", f.Fraction.Numerator, den), "the numerator lies between 0 and the denominator")
			return
		}
		b.Weight = uint32(int64(f.Fraction.Numerator) * 100_000 / int64(den))
	}
	rule.Mirrors = append(rule.Mirrors, b)
}
