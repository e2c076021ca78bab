package translate

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	headermetav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	httpstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
)

// Ztunnels make spans of connections. The caller's comes with its CONNECT: a request without a trace of its own is
// part of that. The pod's ztunnel is told of the request for which a connection was opened; requests that the
// connection is used for afterwards do not show there.

// traceRule reads the traceparent of a connection, if it is recorded.
func traceRule() *headermetav3.Config_Rule {
	return readHeader(headerTrace, metaTrace, `^(?:(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf])|.*)$`, `\1`)
}

// joinTrace makes a request without a trace part of its connection's.
func joinTrace() *corev3.HeaderValueOption {
	h := setHeader(headerTrace, "%FILTER_STATE("+stateTrace+":PLAIN)%")
	h.AppendAction = corev3.HeaderValueOption_ADD_IF_ABSENT
	return h
}

// passTrace has a route tell the ztunnels of its pods of what is traced. A request's span, which only changes of
// headers can name, goes into what its connection inherits. The object is not hashable, so that requests of many
// traces share a connection: it has the trace of the first. Whether a request is recorded is known of one whose caller
// does so; else it shows in the id that Envoy has given it: 9 or b stands for yes, 4 for no, which as flags are odd and
// even, and that is all that counts in them.
func passTrace(r *routev3.Route, recorded bool) {
	flags := "01"
	if !recorded {
		flags = "0%DYNAMIC_METADATA(" + metaNS + ":" + metaFlags + ")%"
		perFilter(r, filterSampled, pack(&headermetav3.Config{RequestRules: []*headermetav3.Config_Rule{
			readHeader("x-request-id", metaFlags, `^(?:[0-9a-f]{8}-[0-9a-f]{4}-([49b])[0-9a-f]{3}-.*|.*)$`, `\1`),
		}}))
	}
	perFilter(r, filterSpan, pack(&headermutationv3.HeaderMutationPerRoute{Mutations: &headermutationv3.Mutations{
		RequestMutations: []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_Append{
			Append: setHeader(headerSpan, "00-%TRACE_ID%-%SPAN_ID%-"+flags),
		}}},
	}}))
	request := shared(stateRequest, "envoy.string", "%REQ("+headerSpan+")%")
	request.SkipIfEmpty = true
	request.GetFormatString().OmitEmptyValues = true
	perFilter(r, filterTrace, pack(&httpstatev3.Config{OnRequestHeaders: []*statev3.FilterStateValue{request}}))
}
