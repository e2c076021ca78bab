package controller

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// Reasons of route conditions beside those of Gateway API.
const reasonNoWaypoint = "NoWaypoint"

// routeCompiler compiles one route.
type routeCompiler struct {
	*compiler
	kind   string
	meta   metav1.ObjectMeta
	status *Status
	// parents are the services that the route is for, namespace/name; "" is anything else.
	parents []string
	// unresolved is the first reference that could not be followed: its reason and message.
	unresolved [2]string
	// invalid says of each rule why it cannot be served.
	invalid []string
	reach   []string // services that backends and mirrors name
}

func (c *compiler) compileRoutes() {
	c.compileHTTPFilters()
	for _, o := range c.objs.HTTPRoutes {
		r := c.routeCompiler("HTTPRoute", o.Value.ObjectMeta, &o.Value.ObjectMeta, o.Origin)
		r.parents = parentServices(o.Value.Namespace, o.Value.Spec.ParentRefs)
		rules := make([]model.RouteRule, len(o.Value.Spec.Rules))
		for i, rule := range o.Value.Spec.Rules {
			rules[i] = r.httpRule(fmt.Sprintf("spec.rules[%d]", i), rule)
		}
		r.attach(o.Value.Spec.ParentRefs, o.Value.Spec.Hostnames, rules)
	}
	for _, o := range c.objs.GRPCRoutes {
		r := c.routeCompiler("GRPCRoute", o.Value.ObjectMeta, &o.Value.ObjectMeta, o.Origin)
		r.parents = parentServices(o.Value.Namespace, o.Value.Spec.ParentRefs)
		rules := make([]model.RouteRule, len(o.Value.Spec.Rules))
		for i, rule := range o.Value.Spec.Rules {
			rules[i] = r.grpcRule(fmt.Sprintf("spec.rules[%d]", i), rule)
		}
		r.attach(o.Value.Spec.ParentRefs, o.Value.Spec.Hostnames, rules)
	}
	c.compileL4Routes()
	c.finishHTTPFilters()
}

func (c *compiler) routeCompiler(kind string, meta metav1.ObjectMeta, o metav1.Object, at source.Origin) *routeCompiler {
	return &routeCompiler{compiler: c, kind: kind, meta: meta, status: c.status(kind, o, at)}
}

// parentServices names what a route is for: namespace/name of services, "" for all else.
func parentServices(namespace string, refs []gatewayv1.ParentReference) []string {
	out := make([]string, len(refs))
	for i, ref := range refs {
		ns := namespace
		if ref.Namespace != nil {
			ns = string(*ref.Namespace)
		}
		if ref.Kind != nil && *ref.Kind == "Service" && ref.Group != nil && (*ref.Group == "" || *ref.Group == "core") {
			out[i] = ns + "/" + string(ref.Name)
		}
	}
	return out
}

// permitted reports whether the route may send to a service: of its own namespace, of one that grants it, or
// the very service that it is for, which its callers call already. That last only where it is for nothing else:
// else calls to one service would be led to another whose owner does not know of it.
func (r *routeCompiler) permitted(namespace, name string) bool {
	if r.granted.allow(r.kind, r.meta.Namespace, namespace, name) {
		return true
	}
	for _, parent := range r.parents {
		if parent != namespace+"/"+name {
			return false
		}
	}
	return len(r.parents) > 0
}

// unserved notes a rule that cannot be served; it answers 500.
func (r *routeCompiler) unserved(rule *model.RouteRule, path, why, next string) {
	if rule.Invalid == "" {
		rule.Invalid = why
		r.invalid = append(r.invalid, fmt.Sprintf("%s: %s", strings.TrimPrefix(path, "spec."), why))
	}
	r.status.fail(path, why+"; "+r.outcome(), next)
}

// attach puts the rules on each service that the route names as its parent, and writes the status.
func (r *routeCompiler) attach(parents []gatewayv1.ParentReference, hostnames []gatewayv1.Hostname, rules []model.RouteRule) {
	for i, ref := range parents {
		path := fmt.Sprintf("spec.parentRefs[%d]", i)
		group, kind := gatewayv1.Group(gatewayv1.GroupName), gatewayv1.Kind("Gateway")
		if ref.Group != nil {
			group = *ref.Group
		}
		if ref.Kind != nil {
			kind = *ref.Kind
		}
		if kind != "Service" || group != "" && group != "core" {
			r.foreignParent(ref, path, group, kind)
			continue
		}
		info, port, reason, why := r.parent(ref)
		if info == nil {
			r.parentStatus(ref, path, reason, why)
			continue
		}
		out := &model.Route{
			Namespace: r.meta.Namespace, Name: r.meta.Name, Kind: r.kind, Service: info.model.Key(), Port: port,
			Created: r.meta.CreationTimestamp.Time, Rules: rules,
		}
		for _, h := range hostnames {
			out.Hostnames = append(out.Hostnames, string(h))
		}
		if len(hostnames) > 0 && !out.L4() {
			r.status.warn("spec.hostnames", "hostnames have no meaning on a route of a Service", "leave them out, or match the header Host")
		}
		key := out.Key() + "@" + out.Service
		if port != 0 {
			key += fmt.Sprintf(":%d", port)
		}
		r.snap.Routes[key] = out
		for _, name := range r.reach {
			info.reach = append(info.reach, reach{service: name, from: r.meta.Namespace})
		}
		r.parentStatus(ref, path, "", "")
		r.programmed(info, path)
	}
}

// foreignParent is a parent that is no Service. Only what names our own waypoints is ours to answer.
func (r *routeCompiler) foreignParent(ref gatewayv1.ParentReference, path string, group gatewayv1.Group, kind gatewayv1.Kind) {
	ns := r.meta.Namespace
	if ref.Namespace != nil {
		ns = string(*ref.Namespace)
	}
	if group == gatewayv1.GroupName && kind == "Gateway" && r.gateways[ns+"/"+string(ref.Name)] != nil {
		r.parentStatus(ref, path, string(gatewayv1.RouteReasonNoMatchingParent), "a waypoint takes no routes itself: name the Service that it serves as the parent (group: \"\", kind: Service)")
	}
}

// parent finds the service, and the port of it that is meant; 0 is all. In another namespace than the
// route's it makes this a consumer route, which acts on calls from the route's namespace only.
func (r *routeCompiler) parent(ref gatewayv1.ParentReference) (info *serviceInfo, port uint16, reason, why string) {
	ns := r.meta.Namespace
	if ref.Namespace != nil {
		ns = string(*ref.Namespace)
	}
	name := ns + "/" + string(ref.Name)
	noParent := string(gatewayv1.RouteReasonNoMatchingParent)
	info = r.services[name]
	if info == nil {
		return nil, 0, noParent, "there is no Service " + name
	}
	switch {
	case ref.Port != nil:
		port = uint16(*ref.Port)
		if _, ok := info.model.Port(port); !ok {
			return nil, 0, noParent, fmt.Sprintf("Service %s has no TCP port %d", name, port)
		}
	case ref.SectionName != nil:
		for _, p := range info.model.Ports {
			if p.Name == string(*ref.SectionName) {
				port = p.ServicePort
			}
		}
		if port == 0 {
			return nil, 0, noParent, fmt.Sprintf("Service %s has no TCP port of the name %s", name, *ref.SectionName)
		}
	}
	if why := r.speaks(info, port); why != "" {
		return nil, 0, noParent, why
	}
	return info, port, "", ""
}

// parentStatus adds the conditions of one parent. A reason means that the route is not accepted there.
func (r *routeCompiler) parentStatus(ref gatewayv1.ParentReference, path, reason, why string) {
	p := gatewayv1.RouteParentStatus{ParentRef: ref, ControllerName: api.MeshController}
	set := func(t string, ok bool, reason, message string) {
		p.Conditions = setCondition(p.Conditions, r.meta.Generation, t, ok, reason, message)
	}
	switch {
	case reason != "":
		set(conditionAccepted, false, reason, why)
		r.status.fail(path, why, "correct the reference")
	case len(r.invalid) > 0:
		set(conditionAccepted, false, string(gatewayv1.RouteReasonUnsupportedValue), r.outcome()+": "+strings.Join(r.invalid, "; "))
	default:
		set(conditionAccepted, true, string(gatewayv1.RouteReasonAccepted), "the route is understood")
	}
	if r.unresolved[0] != "" {
		set(conditionResolvedRefs, false, r.unresolved[0], r.unresolved[1])
	} else {
		set(conditionResolvedRefs, true, string(gatewayv1.RouteReasonResolvedRefs), "every backend is there")
	}
	r.status.Parents = append(r.status.Parents, p)
}

// programmed says whether anything serves the route.
func (r *routeCompiler) programmed(info *serviceInfo, path string) {
	p := &r.status.Parents[len(r.status.Parents)-1]
	name := info.object.Namespace + "/" + info.object.Name
	ok, reason, message := true, "Programmed", ""
	switch {
	case info.use == nil:
		ok, reason = false, reasonNoWaypoint
		message = "Service " + name + " uses no waypoint, so its calls are not routed"
		r.status.warn(path, message, fmt.Sprintf("make a Gateway of class %s and label the Service or its namespace %s: <gateway>", api.WaypointClass, api.LabelUseWaypoint))
	case !info.served():
		ok, reason = false, reasonNoWaypoint
		message = "Service " + name + " has no waypoint that serves it: " + info.unserved()
		r.status.warn(path, message, "see the status of the Service")
	default:
		message = "by waypoint " + info.use.waypoint.Key()
		if info.object.Namespace != r.meta.Namespace {
			message += ", for callers of namespace " + r.meta.Namespace + " alone"
		}
	}
	p.Conditions = setCondition(p.Conditions, r.meta.Generation, conditionProgrammed, ok, reason, message)
}

// unserved says why no waypoint serves a service that asks for one.
func (i *serviceInfo) unserved() string {
	switch {
	case i.use == nil:
		return "it uses no waypoint"
	case i.use.waypoint == nil:
		return i.use.message
	}
	return "it is headless, so calls go past waypoint " + i.use.waypoint.Key()
}
