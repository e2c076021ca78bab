package translate

import (
	"slices"

	bandwidthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	bufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	headermetav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	luav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/lua/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	httpstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
)

// HTTP filters that a route switches on, in the order in which a request passes them; answers pass them in
// reverse. Who a caller is comes before what he may do, that before what it costs, and what changes or
// delays a request comes after all that may refuse it.
const (
	filterAnswer     = "answer"     // the last to see an answer's headers
	filterLabels     = "labels"     // reads what requests are counted by, also those that are refused
	filterCORS       = "cors"       // preflights carry no credentials, so they are answered before any are asked for
	filterCompressor = "compressor" // + "." + algorithm; first of those that see the body, so the last on the way back
	filterGRPCWeb    = "grpc_web"
	filterTokens     = "tokens" // who the end user is
	// Other services that are asked, before the policies: they may refuse for reasons of their own, and what
	// they let pass is not yet allowed.
	filterAskWaypoint = "ask.waypoint"
	filterAskService  = "ask.service"
	filterDeny        = "rbac.deny"
	filterAllow       = "rbac.allow"
	filterCaller      = "caller" // takes apart what limits count by
	filterLimits      = "ratelimit.headers"
	filterLocalLimit  = "ratelimit.local"
	filterGlobal      = "ratelimit.global" // asks a service, so after what is decided here
	filterExtension   = "extension"        // .1 to .8: foreign code, in the order of its priorities
	filterBuffer      = "buffer"
	filterTranscoder  = "transcoder" // what is before it sees the request that the client made
	filterBandwidth   = "bandwidth"
	filterFaultDelay  = "fault.delay" // draws how long the next waits
	filterFault       = "fault"
	filterMissing     = "fault.missing" // answers for backends that do not exist
	filterSampled     = "sampled"       // reads whether a request is traced
	filterSpan        = "span"          // names the span of a request
	filterTrace       = "trace"         // and has a connection to a pod inherit that
	filterSession     = "session"       // picks the endpoint, so after all else
	filterDrain       = "drain"         // asks clients of a service that has left to connect anew
)

// httpFilters are compiled in once, at rest, for all that the waypoint serves: whatever a route needs, no
// listener changes.
func (b *builder) httpFilters() []*hcmv3.HttpFilter {
	return slices.Concat([]*hcmv3.HttpFilter{
		httpFilterOff(filterAnswer, &headermutationv3.HeaderMutation{}),
		httpFilterOff(filterLabels, &headermetav3.Config{}),
		httpFilterOff(filterCORS, &corsv3.Cors{}),
		httpFilterOff(compressorSlot("zstd"), &compositev3.Composite{}),
		httpFilterOff(compressorSlot("br"), &compositev3.Composite{}),
		httpFilterOff(compressorSlot("gzip"), &compositev3.Composite{}),
		httpFilterOff(filterGRPCWeb, &compositev3.Composite{}),
		httpFilterOff(filterTokens, &compositev3.Composite{}),
		httpFilterOff(filterAskWaypoint+ruleFilter, &rbacv3.RBAC{}),
		httpFilterOff(filterAskWaypoint, &compositev3.Composite{}),
		httpFilterOff(filterAskService+ruleFilter, &rbacv3.RBAC{}),
		httpFilterOff(filterAskService, &compositev3.Composite{}),
		httpFilterOff(filterDeny, &rbacv3.RBAC{}),
		httpFilterOff(filterAllow, &rbacv3.RBAC{}),
		httpFilterOff(filterCaller, &headermetav3.Config{}),
		httpFilterOff(filterLimits, &headermutationv3.HeaderMutation{}),
		httpFilterOff(filterLocalLimit, &localv3.LocalRateLimit{StatPrefix: "local"}),
		httpFilterOff(filterGlobal, &compositev3.Composite{}),
	}, extensionFilters(), []*hcmv3.HttpFilter{
		httpFilterOff(filterBuffer, &bufferv3.Buffer{MaxRequestBytes: u32(1 << 20)}),
		httpFilterOff(filterTranscoder, &compositev3.Composite{}),
		httpFilterOff(filterBandwidth, &bandwidthv3.BandwidthLimit{StatPrefix: "bandwidth"}),
		httpFilterOff(filterFaultDelay, &luav3.Lua{}),
		httpFilterOff(filterFault, &faultv3.HTTPFault{}),
		httpFilterOff(filterMissing, &faultv3.HTTPFault{}),
		httpFilterOff(filterSampled, &headermetav3.Config{}),
		httpFilterOff(filterSpan, &headermutationv3.HeaderMutation{}),
		httpFilterOff(filterTrace, &httpstatev3.Config{}),
		httpFilterOff(filterSession, &sessionv3.StatefulSession{}),
		httpFilterOff(filterDrain, &luav3.Lua{}),
		routerFilter(),
	})
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)}}
}

// httpFilterOff is a filter that rests until a route's typed_per_filter_config names it.
func httpFilterOff(name string, m proto.Message) *hcmv3.HttpFilter {
	f := httpFilter(name, m)
	f.Disabled = true
	return f
}
