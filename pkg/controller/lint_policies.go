package controller

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// lintPolicies finds rules that change nothing: of one policy, rules that an earlier one contains; between
// policies, ALLOW rules whose callers a DENY policy of the same workloads refuses anyway.
func (c *compiler) lintPolicies() {
	for _, o := range c.objs.AuthorizationPolicies {
		p := c.snap.Policies[o.Value.Namespace+"/"+o.Value.Name]
		if p == nil || p.Unsupported != "" || len(p.Rules) != len(o.Value.Spec.Rules) {
			continue
		}
		st := c.status("AuthorizationPolicy", o.Value, o.Origin)
		for i, r := range p.Rules {
			path := fmt.Sprintf("spec.rules[%d]", i)
			if k := slices.IndexFunc(p.Rules[:i], func(e model.Rule) bool { return contains(e, r) }); k >= 0 {
				st.warn(path, fmt.Sprintf("changes nothing: rule %d matches all that this one does", k), "remove one of the two")
			}
			if p.Action == model.Allow {
				if by := c.deniedBy(p, r); by != "" {
					st.warn(path, fmt.Sprintf("allows nobody: the DENY policy %s refuses all that it matches", by), "a DENY that matches always wins; narrow it, or remove this rule")
				}
			}
		}
		if len(p.Rules) == 0 && p.Action == model.Deny {
			st.warn("spec", "a DENY policy without rules matches nothing", "add rules; to refuse everybody write an ALLOW policy without rules")
		}
	}
	c.lintUnenrolled()
	c.lintTokens()
}

// deniedBy names a DENY policy that binds at least what p binds and matches at least what the rule does.
func (c *compiler) deniedBy(p *model.Policy, r model.Rule) string {
	best := ""
	for key, d := range c.snap.Policies {
		if d.Action != model.Deny || d.DryRun || d.Unsupported != "" || best != "" && key > best {
			continue
		}
		wide := d.Scope == model.ScopeMesh || d.Scope == model.ScopeNamespace && d.Namespace == p.Namespace
		if wide && slices.ContainsFunc(d.Rules, func(e model.Rule) bool { return contains(e, r) }) {
			best = key
		}
	}
	return best
}

// contains reports whether a rule certainly matches all that another does. It knows equal clauses and
// clauses that are not there; false may also mean that it cannot tell.
func contains(wide, narrow model.Rule) bool {
	for _, clause := range wide.Clauses {
		if !slices.ContainsFunc(narrow.Clauses, func(n model.Clause) bool { return clauseContains(clause, n) }) {
			return false
		}
	}
	return true
}

func clauseContains(wide, narrow model.Clause) bool {
	for _, n := range narrow.Matches {
		if !slices.ContainsFunc(wide.Matches, func(w model.Match) bool { return reflect.DeepEqual(w, n) || reflect.DeepEqual(w, model.Match{}) }) {
			return false
		}
	}
	return len(narrow.Matches) > 0
}

// lintUnenrolled finds policies in namespaces that are not in the mesh.
func (c *compiler) lintUnenrolled() {
	for _, o := range c.objs.Namespaces {
		ns := o.Value.Name
		if o.Value.Labels[api.LabelMode] == api.ModeAmbient || o.Value.Labels[api.LabelUseWaypoint] == "" {
			continue
		}
		enrolled := slices.ContainsFunc(c.pods.all[ns], func(p *podInfo) bool { return p.workload.Protocol == model.HBONE && !p.workload.NativeTunnel })
		if !enrolled && len(c.pods.all[ns]) > 0 {
			c.status("Namespace", o.Value, o.Origin).warn(`metadata.labels["`+api.LabelUseWaypoint+`"]`,
				"the namespace uses a waypoint, but none of its pods is in the mesh: it reaches them in plain text", "label it "+api.LabelMode+": "+api.ModeAmbient)
		}
	}
}
