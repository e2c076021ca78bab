package controller

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/modules"
	"github.com/weftmesh/weft/pkg/source"
)

// What runs is the module of the checksum, or while that is fetched the one before; never none in its name.
func TestModules(t *testing.T) {
	code, old := []byte(modules.Magic+"new"), []byte(modules.Magic+"old")
	digest := sha256.Sum256(code)
	sum := hex.EncodeToString(digest[:])
	remote := &api.WasmExtension{URL: "https://example/m.wasm", SHA256: sum}
	id := modules.Location{URL: remote.URL, SHA256: sum}.ID()
	known := func(s modules.State, former []byte) modules.Known {
		out := modules.Known{States: map[string]modules.State{id: s}, Former: map[string][]byte{}}
		if former != nil {
			out.Former["shop/x"] = former
		}
		return out
	}
	inMap := &api.WasmExtension{ConfigMap: &api.ConfigMapKey{Name: "m", Key: "m.wasm"}, SHA256: sum}
	for _, c := range []struct {
		name    string
		spec    *api.WasmExtension
		known   modules.Known
		stored  []byte
		want    []byte
		problem string
	}{
		{name: "fetched", spec: remote, known: known(modules.State{Code: code}, old), want: code},
		{name: "not yet", spec: remote, known: known(modules.State{}, nil)},
		{name: "not yet, another goes on", spec: remote, known: known(modules.State{}, old), want: old},
		{name: "failed", spec: remote, known: known(modules.State{Error: "503"}, nil), problem: "the module cannot be fetched: 503"},
		{name: "failed, another goes on", spec: remote, known: known(modules.State{Error: "503"}, old), want: old, problem: "the former one goes on"},
		{name: "nobody fetches", spec: remote},
		{name: "of a ConfigMap", spec: inMap, stored: code, want: code},
		{name: "another of a ConfigMap", spec: inMap, stored: old, problem: "SHA-256 is"},
		{name: "no ConfigMap", spec: inMap, problem: "there is no ConfigMap m"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := &api.Extension{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "x"}, Spec: api.ExtensionSpec{Wasm: c.spec}}
			objs := &source.Objects{}
			if c.stored != nil {
				m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "m", Labels: map[string]string{api.LabelFilterData: ""}}, BinaryData: map[string][]byte{"m.wasm": c.stored}}
				objs.ConfigMaps = []source.Object[corev1.ConfigMap]{{Value: m}}
			}
			compiler := newCompiler(objs, Config{Modules: c.known})
			p := policyObject{Policy: x, kind: "Extension"}
			got := compiler.extension(p, &x.Spec)
			if c.want == nil && (got.Wasm != nil || got.Invalid == "") || c.want != nil && (got.Wasm == nil || string(got.Wasm.Code) != string(c.want) || got.Invalid != "") {
				t.Errorf("%+v", got)
			}
			var problems []string
			for _, q := range compiler.status(p.kind, p, p.at).Problems {
				problems = append(problems, q.Message)
			}
			if text := strings.Join(problems, "; "); !strings.Contains(text, c.problem) || c.problem == "" && text != "" {
				t.Errorf("problems %q, want %q", text, c.problem)
			}
		})
	}
}
