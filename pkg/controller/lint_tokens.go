package controller

import (
	"fmt"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// lintTokens finds policies that ask for tokens where nobody verifies any: without a RequestAuthentication no
// request has a principal or claims.
func (c *compiler) lintTokens() {
	for _, o := range c.objs.AuthorizationPolicies {
		p := o.Value
		for i, t := range p.Spec.TargetRefs {
			if c.verifies(p.Namespace, t) {
				continue
			}
			for j, r := range p.Spec.Rules {
				for k, f := range r.From {
					if len(f.Source.RequestPrincipals)+len(f.Source.NotRequestPrincipals)+len(f.Source.Claims) == 0 {
						continue
					}
					c.status("AuthorizationPolicy", p, o.Origin).warn(fmt.Sprintf("spec.rules[%d].from[%d].source", j, k),
						fmt.Sprintf("no RequestAuthentication verifies the tokens of %s %s (targetRefs[%d]): no request has a principal or claims there", t.Kind, t.Name, i),
						"write a RequestAuthentication with the same target")
				}
			}
		}
	}
}

// verifies reports whether tokens are verified at a target, or, for a Service, at some port of it.
func (c *compiler) verifies(namespace string, t api.TargetRef) bool {
	var want model.Target
	waypoint := namespace + "/" + t.Name
	if t.Kind == "Service" {
		info := c.services[namespace+"/"+t.Name]
		if info == nil {
			return true // said already
		}
		want.Service, waypoint = info.model.Key(), ""
		if w := info.waypoint(); w != nil {
			waypoint = w.Key()
		}
	}
	for _, a := range c.snap.Attachments {
		if a.Authentication != nil && (want.Service != "" && a.Target.Service == want.Service || waypoint != "" && a.Target.Waypoint == waypoint) {
			return true
		}
	}
	return false
}
