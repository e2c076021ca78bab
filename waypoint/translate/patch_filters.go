package translate

import (
	"fmt"
	"slices"
	"strings"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/adaptive_concurrency/v3" // links what a filter may be
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/api_key_auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/basic_auth/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cdn_loop/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/decompressor/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_http1_bridge/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// patchableFilters may be added by a patch. None of them calls another cluster, reads secrets or files, or changes
// what the mesh knows of a request: those would reach Envoy's own sources of secrets, or speak for another caller.
var patchableFilters = []string{
	"adaptive_concurrency.v3.AdaptiveConcurrency", "admission_control.v3.AdmissionControl", "api_key_auth.v3.ApiKeyAuth",
	"bandwidth_limit.v3.BandwidthLimit", "basic_auth.v3.BasicAuth", "buffer.v3.Buffer", "cdn_loop.v3.CdnLoopConfig",
	"compressor.v3.Compressor", "csrf.v3.CsrfPolicy", "decompressor.v3.Decompressor", "fault.v3.HTTPFault",
	"grpc_http1_bridge.v3.Config", "grpc_stats.v3.FilterConfig", "header_mutation.v3.HeaderMutation", "local_ratelimit.v3.LocalRateLimit",
}

const filterPackage = "envoy.extensions.filters.http."

// patchFilters puts the filters of a target's patches into the places after its extensions.
func (b *builder) patchFilters(t *target, e *entry, place int) []Source {
	var owners []Source
	for _, a := range b.patchesOf(t) {
		for i, text := range a.Patch.Filters {
			filter, err := patchFilter(text)
			if err == nil && place == maxExtensions {
				err = fmt.Errorf("a request takes %d extensions and filters at most", maxExtensions)
			}
			if err != nil {
				b.problem(attachmentSource(a), "not in force: filters[%d]: %v", i, err)
				continue
			}
			perFilter(e.route, extensionPlace(place), pack(runs(fmt.Sprintf("%s/%s[%d]", a.Namespace, a.Name, i), filter)))
			owners = append(owners, attachmentSource(a))
			place++
		}
	}
	return owners
}

func patchFilter(text string) (*anypb.Any, error) {
	out := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(text), out); err != nil {
		return nil, err
	}
	name, ok := strings.CutPrefix(string(out.MessageName()), filterPackage)
	if !ok || !slices.Contains(patchableFilters, name) {
		return nil, fmt.Errorf("%s may not be added; the filters that may: %s", out.MessageName(), strings.Join(patchableFilters, ", "))
	}
	return out, nil
}
