package controller

import "github.com/weftmesh/weft/pkg/model"

func (c *compiler) compileTraffic() {
	for _, o := range oldestFirst(c.objs.TrafficPolicies) {
		p := policyObject{Policy: o.Value, kind: "TrafficPolicy", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{Traffic: &model.TrafficPolicy{}})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}
