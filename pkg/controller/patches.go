package controller

import (
	"encoding/json"
	"fmt"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// compilePatches hands patches on as they are: what they are patches of, and whether they go too far, is known
// where Envoy's configuration is made.
func (c *compiler) compilePatches() {
	for _, o := range oldestFirst(c.objs.EnvoyPatches) {
		p := policyObject{Policy: o.Value, kind: "EnvoyPatch", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		st := c.status(p.kind, p, p.at)
		compiled, err := envoyPatch(&o.Value.Spec)
		if err != nil {
			st.set(conditionAccepted, false, "InvalidPatch", "%v", err)
			st.fail("spec", err.Error(), "write a JSON patch as in RFC 6902")
			continue
		}
		for _, t := range c.attachPolicy(p, targetKinds{service: true, gateway: true, shared: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{Patch: compiled})
			}
		}
		st.set(conditionAccepted, true, "Accepted", "the patch is understood")
	}
}

func envoyPatch(spec *api.EnvoyPatchSpec) (*model.EnvoyPatch, error) {
	out := &model.EnvoyPatch{}
	for i, p := range spec.Patches {
		for j, op := range p.Operations {
			if op.Value == nil && (op.Op == "add" || op.Op == "replace" || op.Op == "test") {
				return nil, fmt.Errorf("spec.patches[%d].operations[%d]: %s has no value", i, j, op.Op)
			}
		}
		ops, err := json.Marshal(p.Operations)
		if err != nil {
			return nil, fmt.Errorf("spec.patches[%d].operations: %w", i, err)
		}
		out.Patches = append(out.Patches, model.ResourcePatch{Type: p.Type, Operations: string(ops)})
	}
	for _, f := range spec.Filters {
		out.Filters = append(out.Filters, string(f.Config.Raw))
	}
	return out, nil
}
