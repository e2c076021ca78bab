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
	sni          string            // the server name of a TLS handshake
	header       map[string]string // lower-case names
	jwt          string            // a token, wherever it has to be
	offline      bool              // judged by manifests: nobody has fetched keys or modules
}

func (r request) empty() bool {
	return r.method == "" && r.path == "" && len(r.header) == 0 && r.jwt == ""
}

// viaWaypoint judges a connection to what a waypoint stands before.
func (x *explainer) viaWaypoint(g *model.Gateway, req request) {
	wp := x.waypointOf(g)
	if wp == nil {
		h := hop{where: "At waypoint " + gateway(g)}
		h.say("%s names a waypoint that is not there: refused", x.target.name())
		x.advise("create a Gateway of class weft-waypoint by that name, or remove the label weft.dev/use-waypoint")
		x.hops, x.verdict = append(x.hops, h), refused
		return
	}
	pods := waypointPods(x.snap, wp)
	h := hop{where: fmt.Sprintf("At waypoint %s (%d pods)", wp.Key(), len(pods))}
	if len(pods) == 0 {
		h.say("none of its pods is ready: refused")
		x.advise("see why: weftctl lab logs %s, or kubectl logs in a cluster", wp.Key())
		x.hops, x.verdict = append(x.hops, h), refused
		return
	}
	for _, judge := range []func(*hop, *model.Waypoint, request) verdict{x.judgeTokens, x.judgeL7} {
		v := judge(&h, wp, req)
		x.worsen(v)
		if v == refused {
			x.hops = append(x.hops, h)
			return
		}
	}
	groups := [][]endpoint{x.target.endpoints}
	if x.target.service != nil {
		groups = x.sayRoute(&h, wp, req)
	} else if x.sayAttached(&h, wp, nil, nil, req); x.verdict == refused {
		groups = nil
	}
	reached := x.judgeWorkloads(&h, wp, groups, req)
	x.hops = append(x.hops, h)
	x.byWaypoint = true
	x.arrive(reached, waypointIdentity(wp), firstAddr(pods[0]))
}

func waypointIdentity(wp *model.Waypoint) identity.Identity {
	return identity.Identity{TrustDomain: wp.TrustDomain, Namespace: wp.Namespace, ServiceAccount: wp.ServiceAccount}
}

func (x *explainer) waypointOf(g *model.Gateway) *model.Waypoint {
	for _, w := range x.snap.Waypoints {
		if w.Namespace == g.Namespace && w.Hostname == g.Hostname || g.Hostname == "" && slices.Contains(w.Addresses, g.Address) {
			return w
		}
	}
	return nil
}

// waypointPods are those of its pods that serve, by name.
func waypointPods(snap *model.Snapshot, wp *model.Waypoint) []*model.Workload {
	var out []*model.Workload
	for _, w := range snap.Workloads.Sorted() {
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

// l7Call is what policies of a waypoint are asked about.
type l7Call struct {
	request
	port uint16
	self *identity.Identity // of the waypoint, for policies of workloads: a match may name it
}

// judgeL7 applies the policies of the service and of the waypoint.
func (x *explainer) judgeL7(h *hop, wp *model.Waypoint, req request) verdict {
	service := ""
	if x.target.service != nil {
		service = x.target.service.Key()
	}
	var bound []*model.L7Policy
	for _, p := range sorted(x.snap.L7Policies) {
		own := p.Service == "" && (p.Waypoint == wp.Key() || p.Waypoint == "" && p.Namespace == wp.Namespace)
		if !p.Workloads && (own || p.Service != "" && p.Service == service) {
			bound = append(bound, p)
		}
	}
	return x.decideL7(h, bound, l7Call{request: req, port: x.target.port})
}

// decideL7 puts DENY before ALLOW.
func (x *explainer) decideL7(h *hop, policies []*model.L7Policy, c l7Call) verdict {
	var allow []*model.L7Policy
	result := allowed
	for _, p := range policies {
		if p.DryRun {
			h.say("policy %s is a dry run: it decides nothing", p.Key())
			continue
		}
		if p.Action != model.Deny {
			allow = append(allow, p)
			continue
		}
		t, rule := x.matchL7(p, c)
		if p.External != nil && t != no && !x.noRequests() {
			v := x.judgeCustom(h, p, rule, t)
			if v == refused {
				return refused
			}
			result = max(result, v)
			continue
		}
		switch t {
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
	return max(result, x.allowL7(h, allow, c))
}

// allowL7 asks whether one of the ALLOW policies matches.
func (x *explainer) allowL7(h *hop, allow []*model.L7Policy, c l7Call) verdict {
	best := no
	for _, p := range allow {
		t, rule := x.matchL7(p, c)
		if t == yes {
			h.say("allowed by policy %s, rule %d", p.Key(), rule+1)
			return allowed
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
func (x *explainer) matchL7(p *model.L7Policy, c l7Call) (best truth, rule int) {
	for i, r := range p.Rules {
		t := x.matchFrom(r.From, c, p.Action == model.Deny)
		if t != no && len(r.To) > 0 {
			to := no
			for _, op := range r.To {
				to = max(to, x.matchOperation(op, c, p.Action == model.Deny))
			}
			t = min(t, to)
		}
		if t > best {
			best, rule = t, i
		}
	}
	return best, rule
}

// matchFrom finds the source that matches best.
func (x *explainer) matchFrom(from []model.Match, c l7Call, deny bool) truth {
	if len(from) == 0 {
		return yes
	}
	best := no
	for _, m := range from {
		t := x.matchCaller(m, c.self)
		if m.Token != nil {
			t = min(t, x.matchToken(m.Token, deny))
		}
		best = max(best, t)
	}
	return best
}

// matchCaller asks pkg/policy: an ALLOW policy of this one rule lets the caller in just when it matches. A
// match that names the waypoint is judged with it for the caller.
func (x *explainer) matchCaller(m model.Match, self *identity.Identity) truth {
	m.Token = nil
	if self != nil && policy.Names(&m, *self) {
		if len(m.SourceIPs)+len(m.NotSourceIPs) == 0 && policy.MatchesCaller(&m, *self) {
			return yes
		}
		return no
	}
	set := policy.Compile([]*model.Policy{{Rules: []model.Rule{{Clauses: []model.Clause{{Matches: []model.Match{m}}}}}}})
	if set.Decide(policy.Conn{Source: x.src.Identity(), SourceIP: firstAddr(x.src)}).Allowed {
		return yes
	}
	return no
}

// matchOperation is what the waypoint's filter would say. On a port of plain TCP nobody sees requests: an
// operation about them matches for a DENY rule, and for an ALLOW rule it does not.
func (x *explainer) matchOperation(op model.L7Operation, call l7Call, deny bool) truth {
	req := call.request
	if len(op.Ports) > 0 && !slices.Contains(op.Ports, call.port) || slices.Contains(op.NotPorts, call.port) {
		return no
	}
	if x.noRequests() && len(op.Hosts)+len(op.NotHosts)+len(op.Methods)+len(op.NotMethods)+len(op.Paths)+len(op.NotPaths)+len(op.Headers) > 0 {
		if deny {
			return yes
		}
		return no
	}
	host := x.target.host()
	if h := req.header["host"]; h != "" {
		host = h
	}
	result := yes
	for _, c := range []struct {
		value        string
		list, noneOf []model.StringMatch
	}{{host, op.Hosts, op.NotHosts}, {req.method, op.Methods, op.NotMethods}} {
		result = min(result, matchLists(c.value, c.list, c.noneOf))
	}
	result = min(result, matchPaths(req.path, op, deny))
	for _, h := range op.Headers {
		result = min(result, matchLists(req.header[h.Name], h.Values, h.NotValues))
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
