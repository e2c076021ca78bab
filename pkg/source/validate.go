package source

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// validators check what an API server would check by the kind's schema: enumerations, required fields,
// ranges. What a policy or route means is checked when it is compiled.
var validators = map[string]func(*inspection, metav1.Object){
	"AuthorizationPolicy": func(v *inspection, o metav1.Object) { validateAuthorization(v, o.(*api.AuthorizationPolicy)) },
	"PeerAuthentication":  func(v *inspection, o metav1.Object) { validatePeerAuthentication(v, o.(*api.PeerAuthentication)) },
	"Fault":               func(v *inspection, o metav1.Object) { validateFault(v, o.(*api.Fault)) },
	"Service":             func(v *inspection, o metav1.Object) { validateService(v, o.(*corev1.Service)) },
	"Gateway":             func(v *inspection, o metav1.Object) { validateGateway(v, o.(*gatewayv1.Gateway)) },
	"HTTPRoute":           func(v *inspection, o metav1.Object) { validateHTTPRoute(v, o.(*gatewayv1.HTTPRoute)) },
	"GRPCRoute":           func(v *inspection, o metav1.Object) { validateGRPCRoute(v, o.(*gatewayv1.GRPCRoute)) },
	"ReferenceGrant":      func(v *inspection, o metav1.Object) { validateGrant(v, o.(*gatewayv1.ReferenceGrant)) },
}

func validateAuthorization(v *inspection, p *api.AuthorizationPolicy) {
	if p.Spec.Action != "" {
		oneOf(v, "spec.action", p.Spec.Action, api.ActionAllow, api.ActionDeny)
	}
	if p.Spec.Selector != nil && len(p.Spec.TargetRefs) > 0 {
		v.fail("spec.targetRefs", "selector and targetRefs exclude each other", "make it two policies")
	}
	validateTargets(v, p.Spec.TargetRefs)
	for i, r := range p.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		if r.From != nil && len(r.From) == 0 {
			v.fail(at+".from", "an empty list of callers", "leave from out to mean every caller")
		}
		if r.To != nil && len(r.To) == 0 {
			v.fail(at+".to", "an empty list of operations", "leave to out to mean every operation")
		}
	}
}

func validateTargets(v *inspection, refs []api.TargetRef) {
	for i, t := range refs {
		at := fmt.Sprintf("spec.targetRefs[%d]", i)
		if t.Kind == "" || t.Name == "" {
			v.fail(at, "a target needs kind and name", "")
		}
	}
}

func validatePeerAuthentication(v *inspection, p *api.PeerAuthentication) {
	mode := func(path string, m api.MTLSMode) {
		if m != "" {
			oneOf(v, path, m, api.ModeUnset, api.ModeStrict, api.ModePermissive)
		}
	}
	mode("spec.mtls.mode", p.Spec.MTLS.Mode)
	for port, m := range p.Spec.PortLevelMTLS {
		at := join("spec.portLevelMtls", port)
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			v.fail(at, fmt.Sprintf("%q is not a port", port), "write a number from 1 to 65535 in quotes")
		}
		mode(at+".mode", m.Mode)
	}
	if len(p.Spec.PortLevelMTLS) > 0 && p.Spec.Selector == nil {
		v.fail("spec.portLevelMtls", "ports can only be told apart for selected workloads", "add spec.selector.matchLabels")
	}
}

func validateFault(v *inspection, f *api.Fault) {
	if len(f.Spec.TargetRefs) == 0 {
		v.fail("spec", "targetRefs is missing", "name the Services to disturb")
	}
	validateTargets(v, f.Spec.TargetRefs)
	percent := func(path string, p float64) {
		if p < 0 || p > 100 {
			v.fail(path, fmt.Sprintf("%v is not a percentage", p), "write 0 to 100")
		}
	}
	for i, r := range f.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		if r.Abort == nil && r.Delay == nil {
			v.fail(at, "the rule does nothing", "add abort or delay")
		}
		if a := r.Abort; a != nil {
			percent(at+".abort.percentage", a.Percentage)
			if a.HTTPStatus != 0 && (a.HTTPStatus < 200 || a.HTTPStatus > 599) {
				v.fail(at+".abort.httpStatus", fmt.Sprintf("%d is not an HTTP status to end a request with", a.HTTPStatus), "write 200 to 599")
			}
			if a.GRPCStatus != nil && *a.GRPCStatus > 16 {
				v.fail(at+".abort.grpcStatus", fmt.Sprintf("%d is not a gRPC status", *a.GRPCStatus), "write 0 to 16")
			}
			if a.GRPCStatus != nil && a.HTTPStatus != 0 {
				v.fail(at+".abort", "httpStatus and grpcStatus exclude each other", "")
			}
		}
		if d := r.Delay; d != nil {
			percent(at+".delay.percentage", d.Percentage)
			if d.Duration.Duration <= 0 {
				v.fail(at+".delay.duration", "the delay lasts no time", "write e.g. 200ms")
			}
		}
		for j, m := range r.Matches {
			if m.Path != "" && m.Path[0] != '/' {
				v.fail(fmt.Sprintf("%s.matches[%d].path", at, j), "a path begins with /", "")
			}
		}
	}
}

func validateService(v *inspection, s *corev1.Service) {
	names := map[string]bool{}
	for i, p := range s.Spec.Ports {
		at := fmt.Sprintf("spec.ports[%d]", i)
		if p.Port < 1 || p.Port > 65535 {
			v.fail(at+".port", fmt.Sprintf("%d is not a port", p.Port), "write 1 to 65535")
		}
		if t := p.TargetPort; t.StrVal == "" && (t.IntVal < 0 || t.IntVal > 65535) {
			v.fail(at+".targetPort", fmt.Sprintf("%d is not a port", t.IntVal), "write 1 to 65535, or the name of a container's port")
		}
		if p.Protocol != "" {
			oneOf(v, at+".protocol", p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		if names[p.Name] {
			v.fail(at, fmt.Sprintf("two ports have the name %q", p.Name), "name each port")
		}
		names[p.Name] = true
	}
	if s.Spec.Type != "" {
		oneOf(v, "spec.type", s.Spec.Type, corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName)
	}
}

func validateGateway(v *inspection, g *gatewayv1.Gateway) {
	if g.Spec.GatewayClassName == "" {
		v.fail("spec", "gatewayClassName is missing", "write "+api.WaypointClass+" for a waypoint")
	}
	names := map[gatewayv1.SectionName]bool{}
	for i, l := range g.Spec.Listeners {
		at := fmt.Sprintf("spec.listeners[%d]", i)
		if l.Name == "" || l.Port < 1 || l.Port > 65535 || l.Protocol == "" {
			v.fail(at, "a listener needs name, port (1 to 65535) and protocol", "")
		}
		if names[l.Name] {
			v.fail(at+".name", fmt.Sprintf("two listeners have the name %q", l.Name), "")
		}
		names[l.Name] = true
	}
}

func validateGrant(v *inspection, g *gatewayv1.ReferenceGrant) {
	for i, f := range g.Spec.From {
		if f.Kind == "" || f.Namespace == "" {
			v.fail(fmt.Sprintf("spec.from[%d]", i), "kind and namespace are needed", "")
		}
	}
	for i, t := range g.Spec.To {
		if t.Kind == "" {
			v.fail(fmt.Sprintf("spec.to[%d]", i), "kind is missing", "write kind: Service")
		}
	}
}
