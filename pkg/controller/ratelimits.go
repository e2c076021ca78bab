package controller

import "github.com/weftmesh/weft/pkg/model"

func (c *compiler) compileRateLimits() {
	for _, o := range oldestFirst(c.objs.RateLimits) {
		p := policyObject{Policy: o.Value, kind: "RateLimit", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true, gateway: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{RateLimit: &model.RateLimit{}})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}
