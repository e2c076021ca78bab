package cli

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// request is what is known of an HTTP request. Empty fields were not said.
type request struct {
	method, path string
	header       map[string]string // lower-case names
}

func (r request) empty() bool { return r.method == "" && r.path == "" && len(r.header) == 0 }

// viaWaypoint judges a connection to a service that a waypoint serves.
func (x *explainer) viaWaypoint(req request) {
	s := x.target.service
	wp := x.waypointOf(s.Waypoint)
	if wp == nil {
		h := hop{where: "At waypoint " + gateway(s.Waypoint)}
		h.say("service %s names a waypoint that is not there: refused", serviceName(s))
		x.advise("create a Gateway of class weft-waypoint by that name, or remove the label weft.dev/use-waypoint")
		x.hops, x.verdict = append(x.hops, h), refused
		return
	}
	pods := x.waypointPods(wp)
	h := hop{where: fmt.Sprintf("At waypoint %s (%d pods)", wp.Key(), len(pods))}
	if len(pods) == 0 {
		h.say("none of its pods is ready: refused")
		x.advise("see why: weftctl lab logs %s, or kubectl logs in a cluster", wp.Key())
		x.hops, x.verdict = append(x.hops, h), refused
		return
	}
	v := x.judgeL7(&h, wp, req)
	backends := x.sayRoute(&h, req)
	x.hops = append(x.hops, h)
	x.worsen(v)
	if v == refused {
		return
	}
	own := identity.Identity{TrustDomain: wp.TrustDomain, Namespace: wp.Namespace, ServiceAccount: wp.ServiceAccount}
	x.arrive(backends, own)
}

func (x *explainer) waypointOf(g *model.Gateway) *model.Waypoint {
	for _, w := range x.snap.Waypoints {
		if w.Namespace == g.Namespace && w.Hostname == g.Hostname || g.Hostname == "" && slices.Contains(w.Addresses, g.Address) {
			return w
		}
	}
	return nil
}

func (x *explainer) waypointPods(wp *model.Waypoint) []*model.Workload {
	var out []*model.Workload
	for _, w := range x.snap.Workloads {
		if _, ok := w.Services[wp.Namespace+"/"+wp.Hostname]; ok && !w.Unhealthy {
			out = append(out, w)
		}
	}
	return out
}

// truth is three-valued: what was not said about the request is not known.
type truth int

const (
	no truth = iota
	unknown
	yes
)

// judgeL7 applies the policies of the service and of the waypoint, DENY before ALLOW.
func (x *explainer) judgeL7(h *hop, wp *model.Waypoint, req request) verdict {
	var allow, deny []*model.L7Policy
	for _, p := range sorted(x.snap.L7Policies) {
		if p.Service != x.target.service.Key() && (p.Service != "" || p.Waypoint != "" && p.Waypoint != wp.Key() || p.Waypoint == "" && p.Namespace != wp.Namespace) {
			continue
		}
		switch {
		case p.DryRun:
			h.say("policy %s is a dry run: it decides nothing", p.Key())
		case p.Action == model.Deny:
			deny = append(deny, p)
		default:
			allow = append(allow, p)
		}
	}
	result := allowed
	for _, p := range deny {
		switch t, rule := x.matchL7(p, req); t {
		case yes:
			h.say("refused by DENY policy %s, rule %d", p.Key(), rule+1)
			x.advise("change rule %d of policy %s if this request is to be let through", rule+1, p.Key())
			return refused
		case unknown:
			h.say("DENY policy %s, rule %d: depends on the request", p.Key(), rule+1)
			x.advise("say more of the request: --method, --path, --header")
			result = depends
		}
	}
	if len(allow) == 0 {
		if result == allowed {
			h.say("allowed: no policy of the waypoint forbids it")
		}
		return result
	}
	best := no
	for _, p := range allow {
		t, rule := x.matchL7(p, req)
		if t == yes {
			h.say("allowed by policy %s, rule %d", p.Key(), rule+1)
			return result
		}
		best = max(best, t)
		if t == unknown {
			h.say("ALLOW policy %s, rule %d: depends on the request", p.Key(), rule+1)
		}
	}
	if best == unknown {
		x.advise("say more of the request: --method, --path, --header")
		return depends
	}
	for _, p := range allow {
		h.say("ALLOW policy %s applies and none of its %d rules matches", p.Key(), len(p.Rules))
		x.advise("add %s and this request to a rule of policy %s if it is to be let through", principalText(x.src.Identity()), p.Key())
	}
	return refused
}

// matchL7 finds the rule that matches best.
func (x *explainer) matchL7(p *model.L7Policy, req request) (best truth, rule int) {
	for i, r := range p.Rules {
		t := x.matchFrom(r.From)
		if t == yes && len(r.To) > 0 {
			t = no
			for _, op := range r.To {
				t = max(t, x.matchOperation(op, req))
			}
		}
		if t > best {
			best, rule = t, i
		}
	}
	return best, rule
}

// matchFrom asks pkg/policy: an ALLOW policy of this one rule lets the caller in just when it matches.
func (x *explainer) matchFrom(from []model.Match) truth {
	if len(from) == 0 {
		return yes
	}
	set := policy.Compile([]*model.Policy{{Rules: []model.Rule{{Clauses: []model.Clause{{Matches: from}}}}}})
	if set.Decide(policy.Conn{Source: x.src.Identity(), SourceIP: firstAddr(x.src)}).Allowed {
		return yes
	}
	return no
}

func (x *explainer) matchOperation(op model.L7Operation, req request) truth {
	host := x.target.service.Hostname
	if h := req.header["host"]; h != "" {
		host = h
	}
	result := yes
	if len(op.Ports) > 0 && !slices.Contains(op.Ports, x.target.port) || slices.Contains(op.NotPorts, x.target.port) {
		return no
	}
	for _, c := range []struct {
		value        string
		list, noneOf []model.StringMatch
	}{{host, op.Hosts, op.NotHosts}, {req.method, op.Methods, op.NotMethods}, {req.path, op.Paths, op.NotPaths}} {
		result = min(result, matchLists(c.value, c.list, c.noneOf))
	}
	return result
}

func matchLists(value string, list, noneOf []model.StringMatch) truth {
	switch {
	case len(list) == 0 && len(noneOf) == 0:
		return yes
	case value == "":
		return unknown
	case len(list) > 0 && !slices.ContainsFunc(list, func(m model.StringMatch) bool { return matchString(m, value) }),
		slices.ContainsFunc(noneOf, func(m model.StringMatch) bool { return matchString(m, value) }):
		return no
	}
	return yes
}
