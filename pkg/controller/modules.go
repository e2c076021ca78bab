package controller

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/modules"
	"github.com/weftmesh/weft/pkg/source"
)

// NobodyFetches is why an extension is not run where objects are only looked at: that is no fault of theirs.
const NobodyFetches = "modules are not fetched here"

// ModuleLocations lists the modules that are to be fetched for the objects.
func ModuleLocations(objs *source.Objects) []modules.Location {
	var out []modules.Location
	for _, o := range objs.Extensions {
		if w := o.Value.Spec.Wasm; w != nil && w.URL+w.Image != "" {
			out = append(out, moduleLocation(o.Value.Namespace+"/"+o.Value.Name, w))
		}
	}
	return out
}

func moduleLocation(owner string, w *api.WasmExtension) modules.Location {
	return modules.Location{Owner: owner, URL: w.URL, Image: w.Image, SHA256: w.SHA256}
}

func (c *compiler) wasm(p policyObject, spec *api.WasmExtension) (*model.Wasm, string) {
	out := &model.Wasm{Config: spec.Config}
	var why string
	switch {
	case spec.URL+spec.Image != "":
		out.Code, why = c.fetchedModule(p, spec)
	case spec.ConfigMap != nil:
		code, err := c.configMapBytes(p.GetNamespace(), *spec.ConfigMap)
		if err != nil {
			return nil, c.refuseModule(p, "spec.wasm.configMap", err.Error(), "make it: kubectl create configmap NAME --from-file=KEY=module.wasm, and label it "+api.LabelFilterData)
		}
		out.Code, why = c.ownModule(p, spec, "spec.wasm.configMap", code)
	default:
		code, _ := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(spec.Inline), "")) // of what is no base64 the rest is no module
		out.Code, why = c.ownModule(p, spec, "spec.wasm.inline", code)
	}
	if why != "" {
		return nil, why
	}
	return out, ""
}

func (c *compiler) refuseModule(p policyObject, path, what, next string) string {
	st := c.status(p.kind, p, p.at)
	st.set(conditionAccepted, false, "InvalidModule", "%s", what)
	st.fail(path, what, next)
	return what
}

// ownModule is one that stands in an object.
func (c *compiler) ownModule(p policyObject, spec *api.WasmExtension, path string, code []byte) ([]byte, string) {
	if !bytes.HasPrefix(code, []byte(modules.Magic)) {
		return nil, c.refuseModule(p, path, "the module is no WebAssembly", "write the output of: base64 -w0 module.wasm")
	}
	if sum := sha256.Sum256(code); hex.EncodeToString(sum[:]) != spec.SHA256 {
		return nil, c.refuseModule(p, "spec.wasm.sha256", fmt.Sprintf("the module's SHA-256 is %x, not %s", sum, spec.SHA256),
			"if the module is the one that you want, write its own; else find out who changed it")
	}
	return code, ""
}

// fetchedModule is one from elsewhere. Until a new one is there, the one that the extension had before goes on.
func (c *compiler) fetchedModule(p policyObject, spec *api.WasmExtension) ([]byte, string) {
	owner := p.GetNamespace() + "/" + p.GetName()
	got := c.cfg.Modules.States[moduleLocation(owner, spec).ID()]
	if len(got.Code) > 0 {
		return got.Code, ""
	}
	st, from := c.status(p.kind, p, p.at), spec.URL+spec.Image
	former := c.cfg.Modules.Former[owner]
	why := "the module has not been fetched yet from " + from
	if got.Error != "" {
		why = "the module cannot be fetched: " + got.Error
	}
	if c.cfg.Modules.States == nil {
		return nil, NobodyFetches
	}
	if len(former) == 0 {
		if got.Error != "" {
			return nil, c.refuseModule(p, "spec.wasm", why, "see whether the controller reaches it, and whether sha256 is its own")
		}
		st.set(conditionAccepted, false, "NoModule", "%s", why)
		return nil, why
	}
	if got.Error != "" {
		st.warn("spec.wasm", why+"; the former one goes on", "see whether the controller reaches it, and whether sha256 is its own")
	}
	return former, ""
}
