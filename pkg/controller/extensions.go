package controller

import "github.com/weftmesh/weft/pkg/model"

func (c *compiler) compileExtensions() {
	for _, o := range oldestFirst(c.objs.Extensions) {
		p := policyObject{Policy: o.Value, kind: "Extension", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true, gateway: true, shared: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{Extension: &model.Extension{}})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}
