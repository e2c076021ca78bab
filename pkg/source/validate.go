package source

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// validators check, of others' kinds, what an API server would check by the kind's schema: enumerations,
// required fields, ranges (of ours, schemaOf does). What a policy or route means is checked when it is compiled.
var validators = map[string]func(*inspection, metav1.Object){
	"Service":   func(v *inspection, o metav1.Object) { validateService(v, o.(*corev1.Service)) },
	"Gateway":   func(v *inspection, o metav1.Object) { validateGateway(v, o.(*gatewayv1.Gateway)) },
	"HTTPRoute": func(v *inspection, o metav1.Object) { validateHTTPRoute(v, o.(*gatewayv1.HTTPRoute)) },
	"GRPCRoute": func(v *inspection, o metav1.Object) { validateGRPCRoute(v, o.(*gatewayv1.GRPCRoute)) },
	"TCPRoute": func(v *inspection, o metav1.Object) {
		r := o.(*gatewayv1.TCPRoute)
		validateParents(v, r.Spec.ParentRefs)
		for i, rule := range r.Spec.Rules {
			validateShares(v, fmt.Sprintf("spec.rules[%d]", i), rule.BackendRefs)
		}
	},
	"TLSRoute": func(v *inspection, o metav1.Object) {
		r := o.(*gatewayv1.TLSRoute)
		validateParents(v, r.Spec.ParentRefs)
		for i, rule := range r.Spec.Rules {
			validateShares(v, fmt.Sprintf("spec.rules[%d]", i), rule.BackendRefs)
		}
	},
	"ReferenceGrant": func(v *inspection, o metav1.Object) { validateGrant(v, o.(*gatewayv1.ReferenceGrant)) },
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
