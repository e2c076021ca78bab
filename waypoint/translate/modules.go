package translate

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	wasmfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/wasm/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// WasmMark is in the bytes of each route configuration that runs a module, and hardly in another's.
const WasmMark = "envoy.extensions.filters.http.wasm.v3.Wasm"

// setsTimer is what a module imports that has a timer (proxy-wasm's ABI); the names of imports are in its bytes.
const setsTimer = "proxy_set_tick_period_milliseconds"

// Module is an extension's in a route configuration.
type Module struct {
	Extension Source
	Sum       [sha256.Size]byte // of whose it is, its code and its configuration
	Timer     bool              // it may have a timer of its own
}

// Modules reads which ones a route configuration runs, as extend has put them there.
func Modules(rc *routev3.RouteConfiguration) []Module {
	var out []Module
	eachModule(rc, func(_ map[string]*anypb.Any, _ string, m Module) {
		if !slices.Contains(out, m) {
			out = append(out, m)
		}
	})
	slices.SortFunc(out, func(a, b Module) int { return bytes.Compare(a.Sum[:], b.Sum[:]) })
	return out
}

// RemoveModules takes them out.
func RemoveModules(rc *routev3.RouteConfiguration) {
	eachModule(rc, func(configs map[string]*anypb.Any, name string, _ Module) { delete(configs, name) })
}

func eachModule(rc *routev3.RouteConfiguration, f func(configs map[string]*anypb.Any, name string, m Module)) {
	read := func(configs map[string]*anypb.Any) {
		for name, config := range configs {
			if m, ok := moduleIn(config); ok && strings.HasPrefix(name, filterExtension) {
				f(configs, name, m)
			}
		}
	}
	read(rc.GetTypedPerFilterConfig())
	for _, vh := range rc.GetVirtualHosts() {
		read(vh.GetTypedPerFilterConfig())
		for _, r := range vh.GetRoutes() {
			read(r.GetTypedPerFilterConfig())
		}
	}
}

// moduleIn is the inverse of runs and wasmFilter.
func moduleIn(config *anypb.Any) (Module, bool) {
	per, run, filter, text := &compositev3.CompositePerRoute{}, &compositev3.ExecuteFilterAction{}, &wasmfilterv3.Wasm{}, &wrapperspb.StringValue{}
	if config.UnmarshalTo(per) != nil || per.GetMatcher().GetOnNoMatch().GetAction().GetTypedConfig().UnmarshalTo(run) != nil ||
		run.GetTypedConfig().GetTypedConfig().UnmarshalTo(filter) != nil || filter.GetConfig().GetConfiguration().UnmarshalTo(text) != nil {
		return Module{}, false
	}
	namespace, name, _ := strings.Cut(filter.GetConfig().GetName(), "/")
	code := filter.GetConfig().GetVmConfig().GetCode().GetLocal().GetInlineBytes()
	h := sha256.New()
	for _, part := range [][]byte{[]byte(filter.GetConfig().GetName()), code, []byte(text.GetValue())} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return Module{Source{kindExtension, namespace, name}, [sha256.Size]byte(h.Sum(nil)), bytes.Contains(code, []byte(setsTimer))}, true
}
