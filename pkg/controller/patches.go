package controller

import "github.com/weftmesh/weft/pkg/model"

func (c *compiler) compilePatches() {
	for _, o := range oldestFirst(c.objs.EnvoyPatches) {
		p := policyObject{Policy: o.Value, kind: "EnvoyPatch", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		for _, t := range c.attachPolicy(p, targetKinds{service: true, gateway: true, shared: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{Patch: &model.EnvoyPatch{}})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}
