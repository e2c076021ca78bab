package controller

import (
	"cmp"
	"time"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

func (c *compiler) compileExtensions() {
	for _, o := range oldestFirst(c.objs.Extensions) {
		p := policyObject{Policy: o.Value, kind: "Extension", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		compiled := c.extension(p, &o.Value.Spec)
		for _, t := range c.attachPolicy(p, targetKinds{service: true, route: true, gateway: true, shared: true}) {
			if c.byWaypoint(p, t) {
				c.put(p, t, model.Attachment{Extension: compiled})
			}
		}
		c.status(p.kind, p, p.at).set(conditionAccepted, true, "Accepted", "the extension is understood")
	}
}

// extension compiles what is to be run. What cannot be is in Invalid: who asked for it to be run did not ask for
// requests to pass without.
func (c *compiler) extension(p policyObject, spec *api.ExtensionSpec) *model.Extension {
	out := &model.Extension{Priority: spec.Priority, FailOpen: spec.FailOpen}
	switch {
	case spec.Lua != nil:
		out.Lua = spec.Lua.Source
	case spec.ExtProc != nil:
		out.ExtProc, out.Invalid = c.extProc(p, spec.ExtProc)
	case spec.Wasm != nil:
		out.Wasm, out.Invalid = c.wasm(p, spec.Wasm)
	default:
		out.Invalid = "there is nothing to run"
	}
	if out.Invalid != "" && out.Invalid != NobodyFetches {
		effect := "its targets' requests are refused"
		if out.FailOpen {
			effect = "its targets' requests pass without it"
		}
		c.status(p.kind, p, p.at).set(conditionEnforced, false, "Invalid", "%s; until then %s", out.Invalid, effect)
	}
	return out
}

func (c *compiler) extProc(p policyObject, spec *api.ExtProcExtension) (*model.ExtProc, string) {
	service, ok := c.meshService(p, "spec.extProc.service", spec.Service)
	if !ok {
		return nil, "its service cannot be called"
	}
	out := &model.ExtProc{Service: service, Timeout: 200 * time.Millisecond, Request: processed(spec.Request), Response: processed(spec.Response)}
	if spec.Timeout != nil {
		out.Timeout = spec.Timeout.Duration
	}
	out.Metadata = plainTexts(spec.Metadata)
	return out, ""
}

func processed(in *api.ProcessedParts) model.ProcessedParts {
	if in == nil {
		in = &api.ProcessedParts{}
	}
	out := model.ProcessedParts{Headers: in.Headers != "Skip", Trailers: in.Trailers == "Send", Body: cmp.Or(in.Body, "None")}
	if out.Body == "None" {
		out.Body = ""
	}
	return out
}
