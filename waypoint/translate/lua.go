package translate

import (
	_ "embed"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// sandbox stands around every script. Envoy's own way with a script is to give it files and processes, to let it
// run for ever, and to pass requests on after an error.
//
//go:embed sandbox.lua
var sandbox string

func luaFilter(name string, x *model.Extension) *luav3.Lua {
	code := fmt.Sprintf("local name, open, source = %s, %t, %s\n%s", luaString(name), x.FailOpen, luaString(x.Lua), sandbox)
	return &luav3.Lua{DefaultSourceCode: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: code}}}
}

// luaString quotes a text so that it cannot end the quotation. Line breaks become single newlines.
func luaString(s string) string {
	level := "="
	for strings.Contains(s, "]"+level+"]") || strings.HasSuffix(s, "]"+level) {
		level += "="
	}
	return "[" + level + "[\n" + s + "]" + level + "]"
}
