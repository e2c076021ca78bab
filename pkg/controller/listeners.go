package controller

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// served reports whether a waypoint listens as a listener asks for: it does so in one way only.
func served(l *gatewayv1.Listener) bool { return l.Port == api.PortHBONE && l.Protocol == "HBONE" }

// warnOfListeners tells of those that are not served.
func (c *compiler) warnOfListeners(st *Status, g *gatewayv1.Gateway) {
	for i := range g.Spec.Listeners {
		if l := &g.Spec.Listeners[i]; !served(l) {
			st.warn(fmt.Sprintf("spec.listeners[%d]", i), fmt.Sprintf("listener %s (%s, port %d) is not served: a waypoint only listens for HBONE on port %d", l.Name, l.Protocol, l.Port, api.PortHBONE),
				"write port: 15008 and protocol: HBONE, or use a Gateway of another class for traffic from outside")
		}
	}
}

// listeners say of each listener what the Gateway's own conditions say of all. No route attaches to one: routes
// name the Services that the waypoint serves.
func listeners(g *gatewayv1.Gateway, st *Status) []gatewayv1.ListenerStatus {
	programmed := st.Condition(conditionProgrammed)
	var out []gatewayv1.ListenerStatus
	for i := range g.Spec.Listeners {
		l := &g.Spec.Listeners[i]
		s := gatewayv1.ListenerStatus{Name: l.Name, SupportedKinds: []gatewayv1.RouteGroupKind{}}
		set := func(t string, ok bool, reason, message string) {
			s.Conditions = setCondition(s.Conditions, g.Generation, t, ok, reason, message)
		}
		if served(l) {
			set(conditionAccepted, true, string(gatewayv1.ListenerReasonAccepted), "waypoints listen so")
			set(conditionProgrammed, programmed.Status == "True", programmed.Reason, programmed.Message)
		} else {
			set(conditionAccepted, false, string(gatewayv1.ListenerReasonUnsupportedProtocol), fmt.Sprintf("a waypoint only listens for HBONE on port %d", api.PortHBONE))
			set(conditionProgrammed, false, string(gatewayv1.ListenerReasonInvalid), "it is not accepted")
		}
		set(conditionResolvedRefs, true, string(gatewayv1.ListenerReasonResolvedRefs), "there is nothing to resolve")
		out = append(out, s)
	}
	return out
}
