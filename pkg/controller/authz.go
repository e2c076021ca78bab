package controller

import (
	"fmt"
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
	bad    []string // what cannot be evaluated or read, for Unsupported and the status
}

func (c *compiler) compileAuthorization() {
	for _, o := range c.objs.AuthorizationPolicies {
		p := &authPolicy{compiler: c, object: o.Value, status: c.status("AuthorizationPolicy", o.Value, o.Origin)}
		p.compile(o)
	}
}

func (p *authPolicy) compile(o source.Object[api.AuthorizationPolicy]) {
	switch p.object.Spec.Action {
	case "", api.ActionAllow:
	case api.ActionDeny:
		p.action = model.Deny
	default:
		p.action = model.Deny
		p.refuse("spec.action", fmt.Sprintf("unknown action %q", p.object.Spec.Action), "write ALLOW or DENY")
	}
	if len(p.object.Spec.TargetRefs) > 0 && p.object.Spec.Selector != nil {
		p.refuse("spec.targetRefs", "selector and targetRefs exclude each other", "make it two policies")
	}
	if len(p.object.Spec.TargetRefs) > 0 && p.object.Spec.Selector == nil {
		p.targeted()
	} else {
		p.atZtunnel()
	}
	p.accepted()
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

// atZtunnel compiles a policy for workloads: those selected, the namespace's, or the mesh's.
func (p *authPolicy) atZtunnel() {
	out := &model.Policy{Name: p.object.Name, Namespace: p.object.Namespace, Action: p.action, DryRun: p.object.Spec.DryRun}
	l4 := l4Rules{p}
	out.Rules = l4.rules()
	if len(p.bad) > 0 && (p.action == model.Deny || len(out.Rules) == 0) {
		out.Rules, out.Unsupported = nil, strings.Join(p.bad, "; ")
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
		for _, list := range p.pods.all {
			pods = append(pods, list...)
		}
	default:
		out.Scope = model.ScopeNamespace
		pods = p.pods.all[out.Namespace]
	}
	p.snap.Policies[out.Key()] = out
	enforcement(p.status, pods, p.object.Spec.Selector)
	if p.object.Spec.DryRun {
		p.status.set(conditionEnforced, false, "DryRun", "only reported, not enforced")
	}
	if out.Unsupported == "" {
		p.behindWaypoints(out, pods)
	}
}

// enforcement says in a status which of the workloads that a policy binds are in the mesh: nobody
// enforces anything for the others.
func enforcement(st *Status, pods []*podInfo, sel *api.Selector) {
	meshed, outside := 0, []string{}
	for _, p := range pods {
		switch {
		case p.workload.NativeTunnel:
		case p.workload.Protocol == model.HBONE:
			meshed++
		default:
			outside = append(outside, p.object.Namespace+"/"+p.object.Name)
		}
	}
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
