package controller

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// compileL4Routes compiles routes of connections. A rule of theirs has backends and nothing else.
func (c *compiler) compileL4Routes() {
	for _, o := range c.objs.TCPRoutes {
		r := c.routeCompiler("TCPRoute", o.Value.ObjectMeta, &o.Value.ObjectMeta, o.Origin)
		r.parents = parentServices(o.Value.Namespace, o.Value.Spec.ParentRefs)
		var rules []model.RouteRule
		for i, rule := range o.Value.Spec.Rules {
			rules = append(rules, r.l4Rule(i, rule.Name, rule.BackendRefs))
		}
		r.attach(o.Value.Spec.ParentRefs, nil, rules)
	}
	for _, o := range c.objs.TLSRoutes {
		r := c.routeCompiler("TLSRoute", o.Value.ObjectMeta, &o.Value.ObjectMeta, o.Origin)
		r.parents = parentServices(o.Value.Namespace, o.Value.Spec.ParentRefs)
		var rules []model.RouteRule
		for i, rule := range o.Value.Spec.Rules {
			rules = append(rules, r.l4Rule(i, rule.Name, rule.BackendRefs))
		}
		r.attach(o.Value.Spec.ParentRefs, o.Value.Spec.Hostnames, rules)
	}
}

// l4Rule is a rule of a TCPRoute or TLSRoute. Nothing tells connections of one route apart, so the first rule
// takes them all.
func (r *routeCompiler) l4Rule(i int, name *gatewayv1.SectionName, refs []gatewayv1.BackendRef) model.RouteRule {
	path := fmt.Sprintf("spec.rules[%d]", i)
	out := model.RouteRule{}
	if name != nil {
		out.Name = string(*name)
	}
	if i > 0 {
		r.status.warn(path, "the first rule takes every connection, so no other one gets any", "make it one rule with several backends, or several routes")
	}
	for j, ref := range refs {
		out.Backends = append(out.Backends, r.backend(fmt.Sprintf("%s.backendRefs[%d]", path, j), ref.BackendObjectReference, ref.Weight))
	}
	if len(refs) == 0 {
		r.status.warn(path, "the rule has no backends; its connections are refused", "add backendRefs")
	}
	return out
}

// l4 reports whether the route is one of connections.
func (r *routeCompiler) l4() bool { return model.IsL4Route(r.kind) }

// outcome is what becomes of what a route cannot serve.
func (r *routeCompiler) outcome() string {
	if r.l4() {
		return "its connections are refused"
	}
	return "its requests are answered 500"
}

// speaks says why a route's kind does not fit what is declared of the port; of several ports (0) one has to fit.
func (r *routeCompiler) speaks(info *serviceInfo, port uint16) string {
	name := info.object.Namespace + "/" + info.object.Name
	if p, ok := info.model.Port(port); ok {
		if p.App != model.AppUnknown && r.l4() == p.App.HTTP() {
			return fmt.Sprintf("port %d of Service %s is declared to be %s (appProtocol, or the port's name), which is not for a %s", port, name, p.App, r.kind)
		}
		return ""
	}
	if !r.l4() {
		return ""
	}
	for _, p := range info.model.Ports {
		if !p.App.HTTP() {
			return ""
		}
	}
	return fmt.Sprintf("every port of Service %s is declared to be HTTP (appProtocol, or the port's name), which is not for a %s", name, r.kind)
}
