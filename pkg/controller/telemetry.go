package controller

import "github.com/weftmesh/weft/pkg/model"

func (c *compiler) compileTelemetry() {
	for _, o := range oldestFirst(c.objs.Telemetries) {
		p := policyObject{Policy: o.Value, kind: "Telemetry", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		for _, t := range c.attachPolicy(p, targetKinds{service: true, gateway: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{Telemetry: &model.Telemetry{}})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}
