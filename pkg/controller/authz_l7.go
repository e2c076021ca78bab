package controller

import (
	"fmt"
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// targeted compiles a policy for Services or Gateways, which their waypoints enforce. Where no waypoint
// does, all calls to a Service's workloads are denied.
func (p *authPolicy) targeted() {
	rules := p.l7Rules(p.compileRules())
	if len(p.bad) > 0 {
		p.asks = nil // the rules are not what was meant: nobody could say what to ask about
	}
	for i, t := range p.object.Spec.TargetRefs {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		out := &model.L7Policy{Namespace: p.object.Namespace, Name: p.object.Name, Action: p.action, DryRun: p.object.Spec.DryRun, Rules: rules, External: p.asks}
		switch {
		case t.Kind == "Service" && (t.Group == "" || t.Group == "core"):
			p.service(path, t, out)
		case t.Kind == "Gateway" && t.Group == gatewayv1.GroupName:
			p.gateway(path, t, out)
		default:
			p.status.set(conditionAccepted, false, "InvalidKind", "%s %s is no target: name a Service (group \"\") or a waypoint's Gateway (group %s)", t.Kind, t.Name, gatewayv1.GroupName)
			p.status.fail(path, fmt.Sprintf("%s of group %q is no target", t.Kind, t.Group), "name a Service, or a Gateway with group: "+gatewayv1.GroupName)
		}
	}
}

func (p *authPolicy) service(path string, t api.TargetRef, out *model.L7Policy) {
	name := p.object.Namespace + "/" + t.Name
	info := p.services[name]
	if info == nil {
		p.status.set(conditionAccepted, false, "TargetNotFound", "there is no Service %s", name)
		p.status.fail(path, "there is no Service "+name, "make the Service, or correct the name")
		return
	}
	if info.served() {
		out.Service = info.model.Key()
		p.snap.L7Policies[out.Key()+"@"+out.Service] = out
		w := info.use.waypoint
		if p.object.Spec.DryRun {
			p.status.set(conditionEnforced, false, "DryRun", "only reported, not enforced")
			return
		}
		p.status.set(conditionEnforced, true, "Enforced", "for Service %s by waypoint %s. Calls to the pods' own addresses, and calls from outside the mesh, do not pass it: to refuse them add a policy with a selector that allows only principal %s",
			t.Name, w.Key(), waypointPrincipal(w))
		return
	}
	why := "Service " + name + " has no waypoint that could enforce this policy: " + info.unserved()
	next := fmt.Sprintf("make a Gateway of class %s and label the Service or its namespace %s: <gateway>", api.WaypointClass, api.LabelUseWaypoint)
	p.status.fail(path, why, next)
	if p.object.Spec.DryRun {
		p.status.set(conditionEnforced, false, reasonNoWaypoint, "%s", why)
		return
	}
	p.denyAll(info, why)
}

// denyAll refuses every call to a service's workloads, since nobody can tell those that the policy permits.
func (p *authPolicy) denyAll(info *serviceInfo, why string) {
	deny := &model.Policy{Name: p.object.Name, Namespace: p.object.Namespace, Scope: model.ScopeSelector, Action: model.Deny, Unsupported: why}
	if had := p.snap.Policies[deny.Key()]; had != nil {
		deny.Unsupported = joinText(had.Unsupported, why)
	}
	p.snap.Policies[deny.Key()] = deny
	info.fixed = true
	for _, e := range info.pods {
		e.workload.Policies = append(e.workload.Policies, deny.Key())
	}
	p.status.set(conditionEnforced, false, reasonNoWaypoint, "%s; until there is one all calls to its %d workloads are denied", why, len(info.pods))
}

func (p *authPolicy) gateway(path string, t api.TargetRef, out *model.L7Policy) {
	name := p.object.Namespace + "/" + t.Name
	g := p.gateways[name]
	if g == nil {
		p.status.set(conditionAccepted, false, "TargetNotFound", "there is no Gateway %s of class %s", name, api.WaypointClass)
		p.status.fail(path, "there is no Gateway "+name+" of class "+api.WaypointClass, "make the Gateway, or correct the name")
		return
	}
	out.Waypoint = name
	p.snap.L7Policies[out.Key()+"@"+out.Waypoint] = out
	if p.object.Spec.DryRun {
		p.status.set(conditionEnforced, false, "DryRun", "only reported, not enforced")
		return
	}
	p.status.set(conditionEnforced, true, "Enforced", "for everything behind waypoint %s. Calls to the pods' own addresses, and calls from outside the mesh, do not pass it: to refuse them add a policy with a selector that allows only principal %s",
		name, waypointPrincipal(g.waypoint))
}

func waypointPrincipal(w *model.Waypoint) string {
	return w.TrustDomain + "/ns/" + w.Namespace + "/sa/" + w.ServiceAccount
}

// compiledRule is a rule in the form of waypoints; ports are as they were written.
type compiledRule struct {
	model.L7Rule
	index  int
	broken bool // something in it is invalid
}

// compileRules reads all rules, and notes what is invalid in them.
func (p *authPolicy) compileRules() []compiledRule {
	var out []compiledRule
	for i, r := range p.object.Spec.Rules {
		path := fmt.Sprintf("spec.rules[%d]", i)
		before := len(p.bad)
		rule := compiledRule{index: i, L7Rule: model.L7Rule{From: p.sources(path, r.From)}}
		for j, to := range r.To {
			rule.To = append(rule.To, p.l7Operation(fmt.Sprintf("%s.to[%d].operation", path, j), to.Operation))
		}
		rule.broken = len(p.bad) > before
		out = append(out, rule)
	}
	return out
}

// l7Rules are the rules that waypoints enforce. A policy with something invalid in it fails closed: of an
// ALLOW policy the rule in question matches nothing, a DENY policy matches everything.
func (p *authPolicy) l7Rules(compiled []compiledRule) []model.L7Rule {
	if p.action == model.Deny && len(p.bad) > 0 {
		return []model.L7Rule{{}}
	}
	var out []model.L7Rule
	for _, r := range compiled {
		if !r.broken {
			out = append(out, r.L7Rule)
		}
	}
	return out
}

func (p *authPolicy) l7Operation(path string, op api.Operation) model.L7Operation {
	if isEmptyOperation(op) {
		p.refuse(path, "the operation is empty", "leave to out to mean every operation")
	}
	return model.L7Operation{
		Ports: p.ports(path+".ports", op.Ports), NotPorts: p.ports(path+".notPorts", op.NotPorts),
		Hosts: p.texts(path+".hosts", op.Hosts, nil), NotHosts: p.texts(path+".notHosts", op.NotHosts, nil),
		Methods: p.texts(path+".methods", op.Methods, checkMethod), NotMethods: p.texts(path+".notMethods", op.NotMethods, checkMethod),
		Paths: p.paths(path+".paths", op.Paths), NotPaths: p.paths(path+".notPaths", op.NotPaths),
		Headers: p.headers(path+".headers", op.Headers),
	}
}

func checkMethod(m model.StringMatch) (why, next string) {
	if m.Value != strings.ToUpper(m.Value) {
		return "can never match: methods are upper case", "write " + strings.ToUpper(m.Value)
	}
	return "", ""
}

// paths reads paths and templates of paths.
func (p *authPolicy) paths(path string, list []string) []model.StringMatch {
	var out []model.StringMatch
	for i, s := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if why, next := checkPath(s); why != "" {
			p.refuse(at, fmt.Sprintf("%q %s", s, why), next)
			continue
		}
		if m := policy.ParsePath(s); m.Kind == model.Template {
			out = append(out, m)
			continue
		}
		if m, ok := p.text(at, s, nil); ok {
			out = append(out, m)
		}
	}
	return out
}

var (
	pathTemplate = regexp.MustCompile(`^(/[^/{}*]+|/\{[A-Za-z0-9_-]+\})*(/|/\{\*\*?\})?$`)
	unnormalised = regexp.MustCompile(`//|/\.\.?(/|$)|%2[eEfF]|%5[cC]`)
)

func checkPath(s string) (why, next string) {
	switch {
	case strings.ContainsAny(s, "?#"):
		return "can never match: a path is compared without its query", "leave ? and what follows out"
	case s != "" && !strings.HasPrefix(s, "/") && !strings.HasPrefix(s, "*"):
		return "can never match: paths begin with /", "write /" + s
	case unnormalised.MatchString(s):
		return "can never match: a path is compared without //, /./, /../ and escaped dots and slashes", "write it without them"
	case strings.ContainsAny(s, "{}") && !pathTemplate.MatchString(s):
		return "is no template: {name} is a whole segment, {**} the last one", "write e.g. /a/{id}/b or /a/{**}"
	}
	return "", ""
}

func (p *authPolicy) headers(path string, list []api.HeaderCondition) []model.HeaderCondition {
	var out []model.HeaderCondition
	for i, h := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if len(h.Values)+len(h.NotValues) == 0 {
			p.refuse(at, "it asks nothing", "write values or notValues")
		}
		out = append(out, model.HeaderCondition{
			Name: strings.ToLower(h.Name), Values: p.texts(at+".values", h.Values, nil), NotValues: p.texts(at+".notValues", h.NotValues, nil),
		})
	}
	return out
}

// token reads what a source asks of the token of the end user; nil for nothing.
func (p *authPolicy) token(path string, s api.Source) *model.TokenMatch {
	if len(s.RequestPrincipals)+len(s.NotRequestPrincipals)+len(s.Claims) == 0 {
		return nil
	}
	out := &model.TokenMatch{
		Principals:    p.texts(path+".requestPrincipals", s.RequestPrincipals, nil),
		NotPrincipals: p.texts(path+".notRequestPrincipals", s.NotRequestPrincipals, nil),
	}
	for i, c := range s.Claims {
		at := fmt.Sprintf("%s.claims[%d]", path, i)
		if len(c.Claim) == 0 || len(c.Values)+len(c.NotValues) == 0 {
			p.refuse(at, "it asks nothing", "write the claim, and values or notValues")
		}
		out.Claims = append(out.Claims, model.ClaimMatch{
			Claim: c.Claim, Values: p.texts(at+".values", c.Values, nil), NotValues: p.texts(at+".notValues", c.NotValues, nil),
		})
	}
	return out
}
