package controller

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// authPolicy compiles one AuthorizationPolicy.
type authPolicy struct {
	*compiler
	object *api.AuthorizationPolicy
	status *Status
	action model.Action
	asks   *model.ExternalAuthorization
	bad    []string // what is invalid, for Unsupported and the status
	beyond []field  // what only waypoints can evaluate
	unread bool     // its status says what is in force instead

	told told // of what depends on pods
}

// told is what an authPolicy's status says of the pods that it binds.
type told struct {
	before   Status // without any of that
	bad      int    // what was invalid then
	pods     *tally
	behind   int      // pods that trust a waypoint which calls them
	at       string   // the waypoints that they trust
	refusing []string // warnings of waypoints that the policy refuses
}

// field of an object, and what is the matter with it.
type field struct{ path, why string }

func (c *compiler) compileAuthorization() {
	for _, o := range oldestFirst(c.objs.AuthorizationPolicies) {
		p := &authPolicy{compiler: c, object: o.Value, status: c.status("AuthorizationPolicy", o.Value, o.Origin)}
		p.compile(o)
	}
}

func (p *authPolicy) compile(o source.Object[api.AuthorizationPolicy]) {
	switch p.object.Spec.Action {
	case "", api.ActionAllow:
	case api.ActionDeny:
		p.action = model.Deny
	case api.ActionCustom:
		p.action = model.Deny // of whoever cannot ask
		p.custom()
	default:
		p.action = model.Deny
		p.refuse("spec.action", fmt.Sprintf("unknown action %q", p.object.Spec.Action), "write ALLOW, DENY or CUSTOM")
	}
	if len(p.object.Spec.TargetRefs) > 0 && p.object.Spec.Selector != nil {
		p.refuse("spec.targetRefs", "selector and targetRefs exclude each other", "make it two policies")
	}
	if len(p.object.Spec.TargetRefs) > 0 && p.object.Spec.Selector == nil {
		p.targeted()
		p.accepted()
	} else {
		p.atZtunnel()
	}
}

// refuse notes what makes a rule, or the policy, unusable.
func (p *authPolicy) refuse(path, why, next string) {
	p.bad = append(p.bad, strings.TrimPrefix(path, "spec.")+": "+why)
	p.status.fail(path, why, next)
}

// accepted says whether the policy is in force as it was written.
func (p *authPolicy) accepted() {
	if len(p.bad) == 0 {
		p.status.set(conditionAccepted, true, "Accepted", "the policy is understood")
		return
	}
	effect := "its ALLOW rules that have these match nothing"
	if p.action == model.Deny {
		effect = "the DENY policy matches everything"
	}
	if p.object.Spec.DryRun {
		effect += " (in dry run)"
	}
	p.status.set(conditionAccepted, false, "Unsupported", "%s; until that is corrected %s", strings.Join(p.bad, "; "), effect)
}

// atZtunnel compiles a policy for workloads: those selected, the namespace's, or the mesh's. Their ztunnels
// enforce it, and the waypoints that call them.
func (p *authPolicy) atZtunnel() {
	out := &model.Policy{Name: p.object.Name, Namespace: p.object.Namespace, Action: p.action, DryRun: p.object.Spec.DryRun}
	compiled := p.compileRules()
	out.Rules = p.l4Rules(compiled)
	if why := p.unsupported(); why != "" && (p.action == model.Deny || len(out.Rules) == 0) {
		out.Rules, out.Unsupported = nil, why
	}
	var pods []*podInfo
	switch sel := p.object.Spec.Selector; {
	case sel != nil && len(sel.MatchLabels) > 0:
		out.Scope = model.ScopeSelector
		pods = p.pods.matching(out.Namespace, sel.MatchLabels)
		for _, pod := range pods {
			pod.workload.Policies = append(pod.workload.Policies, out.Key())
		}
	case sel == nil && out.Namespace == api.SystemNamespace:
		out.Scope = model.ScopeMesh
		pods = p.pods.everywhere()
	default:
		out.Scope = model.ScopeNamespace
		pods = p.pods.all[out.Namespace]
	}
	p.snap.Policies[out.Key()] = out
	p.bind(&model.L7Policy{Namespace: out.Namespace, Name: out.Name, Action: out.Action, DryRun: out.DryRun, Rules: p.l7Rules(compiled)}, out.Scope, pods)
	p.lookAtWaypoints(out, pods)
	scope := out.Scope
	switch {
	case p.action == model.Allow:
		p.admitWaypoints(pods)
	case len(p.bad) == 0: // a broken DENY policy refuses waypoints as well
		p.exemptWaypoints(out, pods)
	}
	if out.Scope == model.ScopeSelector {
		p.later.listed.add(scope, out.Namespace, labelsOf(p.object.Spec.Selector), out.Key())
	}
	p.told.before, p.told.bad = p.status.clone(), len(p.bad)
	p.told.pods = p.counting(scope, out.Namespace, p.object.Spec.Selector, pods, p.tellAgain)
	p.tell()
}

// tell says in the status what depends on the pods that the policy binds.
func (p *authPolicy) tell() {
	enforcement(p.status, p.told.pods, p.object.Spec.Selector)
	if p.object.Spec.DryRun {
		p.status.set(conditionEnforced, false, "DryRun", "only reported, not enforced")
	}
	p.tellBeyond()
	p.tellWaypoints()
	if !p.unread {
		p.accepted()
	}
}

// tellAgain makes the status anew, for other pods.
func (p *authPolicy) tellAgain() *Status {
	fresh := p.told.before.clone()
	p.status, p.bad = &fresh, p.bad[:p.told.bad]
	p.tell()
	return p.status
}

// unsupported is what ztunnels are told of a policy that they cannot evaluate.
func (p *authPolicy) unsupported() string {
	list := slices.Clone(p.bad)
	for _, f := range p.beyond {
		list = append(list, strings.TrimPrefix(f.path, "spec.")+": "+f.why)
	}
	return strings.Join(list, "; ")
}

// tellBeyond says what becomes of what ztunnels cannot tell: nothing is lost for workloads that are called
// through waypoints only.
func (p *authPolicy) tellBeyond() {
	if len(p.beyond) == 0 {
		return
	}
	all := p.told.pods.all
	alone := p.told.pods.meshed + len(p.told.pods.outside) - p.told.behind
	effect := "a rule that asks for it matches nothing there"
	if p.action == model.Deny {
		effect = "there the policy matches everything"
	}
	for _, f := range p.beyond {
		if alone == 0 && all > 0 {
			p.status.warn(f.path, f.why+"; for calls that do not pass one "+effect, "have everything call the Service rather than the pods")
		} else {
			p.status.fail(f.path, fmt.Sprintf("%s, and %d of the %d workloads have none before them: %s", f.why, alone, all, effect),
				"give their Service a waypoint, use targetRefs with a Service that has one, or leave the field out")
		}
	}
	if alone > 0 || all == 0 {
		p.bad = append(p.bad, strings.TrimPrefix(p.beyond[0].path, "spec.")+": "+p.beyond[0].why)
	}
}

// enforcement says in a status which of the workloads that a policy binds are in the mesh: nobody
// enforces anything for the others.
func enforcement(st *Status, pods *tally, sel *api.Selector) {
	meshed, outside := pods.meshed, pods.outside
	switch {
	case meshed == 0 && len(outside) == 0 && sel != nil && len(sel.MatchLabels) > 0:
		st.set(conditionEnforced, false, "NoWorkloads", "no pod of the namespace carries the labels of the selector")
		st.warn("spec.selector.matchLabels", "the selector takes no pod of the namespace", "compare it with the pods' labels")
	case meshed == 0 && len(outside) == 0:
		st.set(conditionEnforced, true, "Enforced", "for no workload so far")
	case meshed == 0:
		st.set(conditionEnforced, false, "NotEnrolled", "none of the %d workloads is in the mesh (e.g. %s): nobody enforces it; label the namespace %s: %s", len(outside), outside[0], api.LabelMode, api.ModeAmbient)
		st.warn("", fmt.Sprintf("not enforced: none of the %d workloads is in the mesh, e.g. %s", len(outside), outside[0]), "label the namespace "+api.LabelMode+": "+api.ModeAmbient)
	case len(outside) > 0:
		st.set(conditionEnforced, true, "PartlyEnforced", "by the ztunnels of %d workloads; not for %d that are not in the mesh (e.g. %s)", meshed, len(outside), outside[0])
	default:
		st.set(conditionEnforced, true, "Enforced", "by the ztunnels of %d workloads", meshed)
	}
}
