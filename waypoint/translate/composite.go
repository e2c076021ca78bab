package translate

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	matchingv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Some filters read their whole configuration from the listener and nothing from a route. For these the
// listener has a composite filter that does nothing by itself, and a route names the filter to run in its
// place, configuration and all: no listener changes, and what Envoy refuses is one route configuration.

// execute is what a route says to a composite filter: run this one.
func execute(name string, filter proto.Message) *anypb.Any {
	return act(name, &compositev3.ExecuteFilterAction{TypedConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: pack(filter)}})
}

// executeAll has it run several, one after the other.
func executeAll(name string, filters ...*corev3.TypedExtensionConfig) *anypb.Any {
	return act(name, &compositev3.ExecuteFilterAction{FilterChain: &compositev3.FilterChainConfiguration{TypedConfig: filters}})
}

func act(name string, action *compositev3.ExecuteFilterAction) *anypb.Any {
	return pack(&compositev3.CompositePerRoute{Matcher: &matchingv3.Matcher{OnNoMatch: &matchingv3.Matcher_OnMatch{
		OnMatch: &matchingv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: pack(action)}},
	}}})
}
