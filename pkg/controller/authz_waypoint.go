package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// Where a waypoint calls a workload, the workload's ztunnel sees the waypoint's name and not the caller's.
// So the waypoint judges the caller by the workload's policies (see bind), and the ztunnel lets that
// waypoint in beside those whom the policies let in. Whoever calls the workload itself is judged by the
// ztunnel as ever. docs/decisions/006 has the reasons.

// admitWaypoints adds, for each waypoint that a workload trusts, an ALLOW policy for its principal, where
// ALLOW policies bind the workload: alone they would refuse it.
func (p *authPolicy) admitWaypoints(pods []*podInfo) {
	for _, pod := range pods {
		for _, w := range p.callers[pod.workload].trusted() {
			key := p.admission(w, p.object.Spec.DryRun)
			pod.workload.Policies = append(pod.workload.Policies, key)
		}
	}
}

// AdmissionKey is the key of the policy by which workloads let a waypoint in.
func AdmissionKey(w *model.Waypoint) string { return w.Namespace + "/waypoint_" + w.Name }

// admission is the ALLOW policy for a waypoint's principal. Its name has an underscore, so that no
// AuthorizationPolicy can have it. In dry run it only keeps policies in dry run from crying wolf.
func (c *compiler) admission(w *model.Waypoint, dryRun bool) string {
	out := &model.Policy{
		Name: "waypoint_" + w.Name, Namespace: w.Namespace, Scope: model.ScopeSelector, Action: model.Allow, DryRun: dryRun,
		Rules: []model.Rule{{Clauses: []model.Clause{{Matches: []model.Match{{Principals: exactly(w)}}}}}},
	}
	if dryRun {
		out.Name += "_dryrun"
	}
	c.snap.Policies[out.Key()] = out
	return out.Key()
}

func exactly(ws ...*model.Waypoint) []model.StringMatch {
	var out []model.StringMatch
	for _, w := range ws {
		out = append(out, model.StringMatch{Kind: model.Exact, Value: waypointPrincipal(w)})
	}
	return out
}

// exemptWaypoints gives workloads that trust a waypoint, and on which the DENY policy would refuse it
// without meaning it, a version of the policy without those waypoints. A policy with versions binds by
// the workloads' lists alone, whatever its scope was.
func (p *authPolicy) exemptWaypoints(deny *model.Policy, pods []*podInfo) {
	version := map[*podInfo]string{}
	for _, pod := range pods {
		ws := slices.DeleteFunc(p.callers[pod.workload].trusted(), func(w *model.Waypoint) bool { return !p.refusesUnmeant(deny, w) })
		if len(ws) > 0 {
			version[pod] = p.without(deny, ws)
		}
	}
	if len(version) == 0 {
		return
	}
	for _, pod := range pods {
		key, ok := version[pod]
		if !ok {
			key = deny.Key()
		}
		list := slices.DeleteFunc(pod.workload.Policies, func(k string) bool { return k == deny.Key() })
		pod.workload.Policies = append(list, key)
	}
	deny.Scope = model.ScopeSelector
}

// refusesUnmeant reports whether some rule would refuse a waypoint that it does not name.
func (p *authPolicy) refusesUnmeant(deny *model.Policy, w *model.Waypoint) bool {
	return deny.Unsupported != "" || slices.ContainsFunc(deny.Rules, func(r model.Rule) bool { return unmeant(r, w) })
}

func unmeant(r model.Rule, w *model.Waypoint) bool {
	id := waypointIdentity(w)
	for _, clause := range r.Clauses {
		matches, named := len(clause.Matches) == 0, false
		for i := range clause.Matches {
			m := &clause.Matches[i]
			if policy.MatchesCaller(m, id) {
				matches, named = true, named || policy.Names(m, id)
			}
		}
		if !matches || named {
			return false
		}
	}
	return true
}

// without is the policy for workloads behind the waypoints: they are let through, having asked themselves.
func (p *authPolicy) without(deny *model.Policy, ws []*model.Waypoint) string {
	names := make([]string, len(ws))
	for i, w := range ws {
		names[i] = w.Namespace + "." + w.Name
	}
	out := *deny
	out.Name += "_behind_" + strings.Join(names, "+")
	out.Scope, out.Unsupported, out.Rules = model.ScopeSelector, "", nil
	others := func(ws []*model.Waypoint) model.Clause {
		return model.Clause{Matches: []model.Match{{NotPrincipals: exactly(ws...)}}}
	}
	if deny.Unsupported != "" { // who comes by himself is refused, whatever he asks for
		out.Rules = []model.Rule{{Clauses: []model.Clause{others(ws)}}}
	}
	for _, r := range deny.Rules {
		if spared := slices.DeleteFunc(slices.Clone(ws), func(w *model.Waypoint) bool { return !unmeant(r, w) }); len(spared) > 0 {
			r.Clauses = append(slices.Clip(r.Clauses), others(spared))
		}
		out.Rules = append(out.Rules, r)
	}
	p.snap.Policies[out.Key()] = &out
	return out.Key()
}

// lookAtWaypoints notes which waypoints call the pods, for the status.
func (p *authPolicy) lookAtWaypoints(l4 *model.Policy, pods []*podInfo) {
	p.told.at = p.waypointsText(pods, true)
	refusing := map[string]bool{}
	for _, pod := range pods {
		by := p.callers[pod.workload]
		if !pod.workload.NativeTunnel && len(by.trusted()) > 0 {
			p.told.behind++
		}
		for w, trusted := range by {
			if !trusted && p.refuses(l4, w) {
				refusing[fmt.Sprintf("waypoint %s leads here by a route of another namespace, and this policy refuses its principal %s", w.Key(), waypointPrincipal(w))] = true
			}
		}
	}
	p.told.refusing = slices.Sorted(maps.Keys(refusing))
}

// tellWaypoints says in the status where else the policy is enforced, and whom it still refuses.
func (p *authPolicy) tellWaypoints() {
	e := p.status.Condition(conditionEnforced)
	if e == nil || e.Reason == reasonUnreadable || p.object.Spec.DryRun {
		return
	}
	if p.told.at != "" {
		e.Message = joinText(e.Message, "calls through waypoint "+p.told.at+" are judged there, by their original caller")
	}
	for _, text := range p.told.refusing {
		p.status.warn("spec", text, "allow that principal here if its callers are to come in")
	}
}

// refuses asks the policy itself about the waypoint, its address and ports aside.
func (p *authPolicy) refuses(l4 *model.Policy, w *model.Waypoint) bool {
	id := waypointIdentity(w)
	matches := slices.ContainsFunc(l4.Rules, func(r model.Rule) bool {
		return !slices.ContainsFunc(r.Clauses, func(c model.Clause) bool {
			return len(c.Matches) > 0 && !slices.ContainsFunc(c.Matches, func(m model.Match) bool { return policy.MatchesCaller(&m, id) })
		})
	})
	if l4.Action == model.Deny {
		return matches || l4.Unsupported != ""
	}
	return !matches
}
