package controller

import (
	"fmt"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// gateway is a Gateway that is to be a waypoint.
type gateway struct {
	object   *gatewayv1.Gateway
	origin   source.Origin
	waypoint *model.Waypoint
}

// isWaypointClass reports whether we serve a class: ours by name, or one that names our controller.
func isWaypointClass(objs *source.Objects, class gatewayv1.ObjectName) bool {
	for _, gc := range objs.GatewayClasses {
		if gc.Value.Name == string(class) {
			return gc.Value.Spec.ControllerName == api.WaypointController
		}
	}
	return class == api.WaypointClass
}

// Waypoints lists the Gateways for which a waypoint is to be deployed.
func Waypoints(objs *source.Objects) []*gatewayv1.Gateway {
	var out []*gatewayv1.Gateway
	for _, g := range objs.Gateways {
		if isWaypointClass(objs, g.Value.Spec.GatewayClassName) {
			out = append(out, g.Value)
		}
	}
	return out
}

func (c *compiler) compileGateways() {
	for _, gc := range c.objs.GatewayClasses {
		if gc.Value.Spec.ControllerName == api.WaypointController {
			st := c.status("GatewayClass", gc.Value, gc.Origin)
			st.set(conditionAccepted, true, "Accepted", "waypoints of this class are deployed by Weft")
			st.Features = SupportedFeatures()
		}
	}
	for _, o := range c.objs.Gateways {
		g := o.Value
		if !isWaypointClass(c.objs, g.Spec.GatewayClassName) {
			continue // somebody else's
		}
		st := c.status("Gateway", g, o.Origin)
		w := &model.Waypoint{
			Namespace: g.Namespace, Name: g.Name, ServiceAccount: g.Name, TrustDomain: c.cfg.TrustDomain,
			Hostname: model.ServiceHostname(g.Name, g.Namespace, c.cfg.ClusterDomain), For: g.Labels[api.LabelWaypointFor],
		}
		switch w.For {
		case "":
			w.For = "service"
		case "service", "workload", "all", "none":
		default:
			st.set(conditionAccepted, false, string(gatewayv1.GatewayReasonInvalidParameters),
				"label %s is %q, want service, workload, all or none; until then what uses this waypoint is refused", api.LabelWaypointFor, w.For)
			st.fail(`metadata.labels["`+api.LabelWaypointFor+`"]`, fmt.Sprintf("unknown value %q", w.For), "write service, workload, all or none")
			w.For = "invalid"
		}
		if _, err := WaypointParameters(c.objs, g); err != nil {
			st.set(conditionAccepted, false, string(gatewayv1.GatewayReasonInvalidParameters), "%v; the waypoint is deployed without parameters until then", err)
			st.fail("spec.infrastructure.parametersRef", err.Error(), "correct the reference or the ConfigMap")
		}
		c.warnOfListeners(st, g)
		st.set(conditionAccepted, true, string(gatewayv1.GatewayReasonAccepted), "a waypoint for %s", w.For)
		c.gateways[w.Key()] = &gateway{object: g, origin: o.Origin, waypoint: w}
		c.snap.Waypoints[w.Key()] = w
	}
}

// finishGateways gives waypoints the addresses of their services and says whether they run.
func (c *compiler) finishGateways() {
	for key, g := range c.gateways {
		st := c.status("Gateway", g.object, g.origin)
		if svc := c.services[key]; svc != nil {
			g.waypoint.Addresses = slices.Clone(svc.model.Addresses)
		}
		for _, a := range g.waypoint.Addresses {
			st.Addresses = append(st.Addresses, a.String())
		}
		running, all := 0, 0
		for _, p := range c.pods.matching(g.object.Namespace, map[string]string{api.LabelGatewayName: g.object.Name}) {
			if all++; !p.workload.Unhealthy {
				running++
			}
			if sa := p.workload.ServiceAccount; sa != g.object.Name {
				// Its certificate would be another than the one that ztunnels and policies expect.
				st.warn("", fmt.Sprintf("pod %s runs as service account %s, a waypoint as %s", p.object.Name, sa, g.object.Name), "leave the deployment to Weft")
			}
		}
		switch {
		case c.services[key] == nil:
			st.set(conditionProgrammed, false, string(gatewayv1.GatewayReasonPending), "its Service is not there yet; what uses the waypoint is refused meanwhile")
		case len(g.waypoint.Addresses) == 0:
			st.set(conditionProgrammed, false, string(gatewayv1.GatewayReasonAddressNotAssigned), "its Service has no cluster IP yet; what uses the waypoint is refused meanwhile")
		case running == 0:
			st.set(conditionProgrammed, false, string(gatewayv1.GatewayReasonNoResources), "none of its %d pods is ready; what uses the waypoint is refused meanwhile (look at the pods' logs)", all)
		default:
			st.set(conditionProgrammed, true, string(gatewayv1.GatewayReasonProgrammed), "%d of %d pods are ready", running, all)
		}
		st.Listeners = listeners(g.object, st)
	}
}

// waypointUse is what a use-waypoint label came to.
type waypointUse struct {
	namespace, name string
	// gateway is what ztunnels are told. It is set as well where the waypoint is missing: they refuse then.
	gateway *model.Gateway
	// waypoint serves; nil where nothing does, and reason and message say why.
	waypoint        *model.Waypoint
	reason, message string
}

// waypointUse follows the label of an object or else of its namespace. kind is "service" or "workload". nil:
// no waypoint is asked for.
func (c *compiler) waypointUse(own map[string]string, namespace, kind string) *waypointUse {
	if own[api.LabelGatewayName] != "" && c.gateways[namespace+"/"+own[api.LabelGatewayName]] != nil {
		return nil // the waypoint itself
	}
	name, explicit := own[api.LabelUseWaypoint]
	in := own[api.LabelUseWaypointNamespace]
	if !explicit {
		name, in = c.namespaceLabel(namespace, api.LabelUseWaypoint), c.namespaceLabel(namespace, api.LabelUseWaypointNamespace)
	}
	if name == "" || name == "none" {
		return nil
	}
	if in == "" {
		in = namespace
	}
	u := &waypointUse{namespace: in, name: name, gateway: &model.Gateway{
		Namespace: in, Hostname: model.ServiceHostname(name, in, c.cfg.ClusterDomain), Port: api.PortHBONE,
	}}
	g := c.gateways[in+"/"+name]
	switch {
	case g == nil:
		if kind == "workload" && !explicit {
			return nil // the namespace's label means its services, as far as anybody can tell
		}
		u.reason, u.message = "WaypointNotFound", fmt.Sprintf("there is no Gateway %s/%s of class %s", in, name, api.WaypointClass)
	case !c.admits(g, namespace):
		// A name that can never be: the waypoint would serve what names it.
		u.gateway.Hostname = name + "." + in + ".not-allowed.invalid"
		u.reason, u.message = "NotAllowedByListeners", fmt.Sprintf("Gateway %s/%s does not admit namespace %s (spec.listeners[].allowedRoutes.namespaces)", in, name, namespace)
	case g.waypoint.For == "invalid":
		u.reason, u.message = "WaypointInvalid", fmt.Sprintf("the label %s of Gateway %s/%s is invalid", api.LabelWaypointFor, in, name)
	case g.waypoint.For != kind && g.waypoint.For != "all":
		if !explicit {
			return nil
		}
		u.reason, u.message = "WaypointForOthers", fmt.Sprintf("Gateway %s/%s is a waypoint for %s only (label %s)", in, name, g.waypoint.For, api.LabelWaypointFor)
	default:
		u.waypoint = g.waypoint
	}
	return u
}

// admits reports whether a Gateway may be used from a namespace: from its own, or as its listener says.
func (c *compiler) admits(g *gateway, namespace string) bool {
	if g.object.Namespace == namespace {
		return true
	}
	for _, l := range g.object.Spec.Listeners {
		if l.AllowedRoutes == nil || l.AllowedRoutes.Namespaces == nil || l.AllowedRoutes.Namespaces.From == nil {
			continue
		}
		switch *l.AllowedRoutes.Namespaces.From {
		case gatewayv1.NamespacesFromAll:
			return true
		case gatewayv1.NamespacesFromSelector:
			sel, err := metav1.LabelSelectorAsSelector(l.AllowedRoutes.Namespaces.Selector)
			if ns := c.namespaces[namespace]; err == nil && ns != nil && sel.Matches(labels.Set(ns.Labels)) {
				return true
			}
		}
	}
	return false
}

func addresses(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && !slices.Contains(out, a.Unmap()) {
			out = append(out, a.Unmap())
		}
	}
	return out
}
