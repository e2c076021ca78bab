package translate

import (
	"fmt"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	headermetav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Filter state that hbone hands to the inner listeners, and the header that carries the scope's key.
const (
	statePeer      = "weft.peer"      // the caller's SPIFFE URI, from its certificate
	stateNamespace = "weft.namespace" // of that
	stateAccount   = "weft.account"   // of that
	stateDst       = "weft.dst"       // address:port that the caller asked for
	stateBaggage   = "weft.baggage"   // what the caller's ztunnel says of its workload, for telemetry only
	stateTrace     = "weft.trace"     // traceparent of the caller's connection, if that is recorded
	stateRequest   = "weft.request"   // traceparent of the request that opened a connection to a pod, if that is traced
	stateAuthority = "weft.authority" // address:port to ask of the pod
	headerDst      = "x-weft-dst"
	headerPeer     = "x-weft-peer" // the caller, for what only reads headers; services do not see it
	headerXFCC     = "x-forwarded-client-cert"
	headerTrace    = "traceparent"
	headerSpan     = "x-weft-span" // of the request, for connections to pods
)

// Metadata of endpoints, in the namespace metaNS.
const (
	metaNS        = "weft"
	metaTunnel    = "tunnel"    // address of the pod's HBONE port
	metaAuthority = "authority" // address:port of the application
	metaSAN       = "san"       // SPIFFE URI expected
	metaVia       = "via"       // cluster of the tunnel's connections, where it is not the common one
	metaWorkload  = "workload"  // namespace/owner, for telemetry
	metaSource    = "source"    // of the forwarded header: the application's socket
	metaNamespace = "namespace" // of the caller
	metaAccount   = "account"   // of the caller
	metaTrace     = "trace"     // of the caller's connection
	metaFlags     = "flags"     // of a request's trace, odd if it is recorded
)

// Names of the route configurations of hbone and sni.
const (
	connectTableName = "hbone"
	sniTableName     = "sni"
)

// Windows: big enough for a fast link, small enough that requests do not wait behind bulk.
const (
	streamWindow     = 1 << 20
	connectionWindow = 16 << 20
)

// ClientIdle is how long a client's connection is kept without a request on it. A service that has left a
// waypoint is to be served there for longer than that.
const ClientIdle = 5 * time.Minute

// hboneManager terminates CONNECT and hands each stream to where the table says, with the caller's
// identity and both addresses in filter state.
func (b *builder) hboneManager() *hcmv3.HttpConnectionManager {
	return &hcmv3.HttpConnectionManager{
		StatPrefix: listenHBONE,
		CodecType:  hcmv3.HttpConnectionManager_HTTP2,
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			AllowConnect:                true,
			MaxConcurrentStreams:        u32(200),
			InitialStreamWindowSize:     u32(streamWindow),
			InitialConnectionWindowSize: u32(connectionWindow),
			ConnectionKeepalive:         keepalive(),
		},
		UpgradeConfigs:                []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "CONNECT"}},
		StreamIdleTimeout:             seconds(0),
		ServerHeaderTransformation:    hcmv3.HttpConnectionManager_PASS_THROUGH,
		AccessLog:                     b.tcpAccessLog(),
		AccessLogOptions:              &hcmv3.HttpConnectionManager_HcmAccessLogOptions{FlushLogOnTunnelSuccessfullyEstablished: true},
		EarlyHeaderMutationExtensions: earlyHeaders(setHeader(headerPeer, "%DOWNSTREAM_PEER_URI_SAN%")),
		HttpFilters: []*hcmv3.HttpFilter{
			httpFilterOff(filterDeny, &rbacv3.RBAC{}),
			httpFilterOff(filterAllow, &rbacv3.RBAC{}),
			httpFilter("forwarded", &headermetav3.Config{RequestRules: []*headermetav3.Config_Rule{forwardedRule(), peerRule(metaNamespace, 1), peerRule(metaAccount, 2), traceRule()}}),
			httpFilter("flow", &httpstatev3.Config{OnRequestHeaders: flowState()}),
			routerFilter(),
		},
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: connectTableName, ConfigSource: ads()}},
	}
}

// forwardedRule reads the application's socket from forwarded: for="ip:port";host=service.
func forwardedRule() *headermetav3.Config_Rule {
	return readHeader("forwarded", metaSource, `^for="?([^";]+)"?.*$`, `\1`)
}

// peerRule reads a part of the caller's identity, its namespace or its service account.
func peerRule(key string, part int) *headermetav3.Config_Rule {
	return readHeader(headerPeer, key, `^`+spiffe+`[^/]+/ns/([^/]+)/sa/([^/]+)$`, fmt.Sprintf(`\%d`, part))
}

// readHeader puts what a pattern makes of a request's header into metadata, unless that is empty.
func readHeader(header, key, pattern, substitution string) *headermetav3.Config_Rule {
	return &headermetav3.Config_Rule{
		Header: header,
		OnHeaderPresent: &headermetav3.Config_KeyValuePair{
			MetadataNamespace: metaNS,
			Key:               key,
			RegexValueRewrite: &matcherv3.RegexMatchAndSubstitute{Pattern: regex(pattern), Substitution: substitution},
		},
	}
}

// flowState is what an inner connection inherits. Every object must be hashable: Envoy's pools tell
// connections apart by hashable objects only, and with any other would mix callers. ONCE ends the
// inheritance at the inner listener, so that connections to pods are shared by all callers.
func flowState() []*statev3.FilterStateValue {
	const hashable = "envoy.hashable_string"
	source := shared("envoy.filters.listener.original_dst.remote_ip", "", "%DYNAMIC_METADATA("+metaNS+":"+metaSource+")%")
	trace := shared(stateTrace, hashable, "%DYNAMIC_METADATA("+metaNS+":"+metaTrace+")%")
	baggage := shared(stateBaggage, hashable, "%REQ(baggage)%")
	for _, v := range []*statev3.FilterStateValue{source, trace, baggage} {
		v.SkipIfEmpty = true
		v.GetFormatString().OmitEmptyValues = true
	}
	return []*statev3.FilterStateValue{
		shared(statePeer, hashable, "%DOWNSTREAM_PEER_URI_SAN%"),
		shared(stateNamespace, hashable, "%DYNAMIC_METADATA("+metaNS+":"+metaNamespace+")%"),
		shared(stateAccount, hashable, "%DYNAMIC_METADATA("+metaNS+":"+metaAccount+")%"),
		shared(stateDst, hashable, "%REQ(:AUTHORITY)%"),
		shared("envoy.filters.listener.original_dst.local_ip", "", "%REQ(:AUTHORITY)%"),
		// The peer's own address, unless it says on whose behalf it calls.
		shared("envoy.filters.listener.original_dst.remote_ip", "", "%DOWNSTREAM_REMOTE_ADDRESS%"),
		source,
		trace,
		baggage,
	}
}

func shared(key, factory, value string) *statev3.FilterStateValue {
	v := stateValue(key, factory, value)
	v.SharedWithUpstream = statev3.FilterStateValue_ONCE
	return v
}

// httpManager serves every HTTP port. It decides nothing by itself: the scope finds the port's routes by
// the address that was asked for, and a route switches the filters on that it needs.
func (b *builder) httpManager() *hcmv3.HttpConnectionManager {
	escaped := hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
	if b.cfg.KeepEscapedSlashes {
		escaped = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	}
	return &hcmv3.HttpConnectionManager{
		StatPrefix:                   listenHTTP,
		UseRemoteAddress:             yes(),
		ForwardClientCertDetails:     hcmv3.HttpConnectionManager_SANITIZE,
		NormalizePath:                yes(),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: escaped,
		PreserveExternalRequestId:    true,
		ServerHeaderTransformation:   hcmv3.HttpConnectionManager_PASS_THROUGH,
		HttpProtocolOptions: &corev3.Http1ProtocolOptions{
			AcceptHttp_10:         true,
			DefaultHostForHttp_10: "localhost", // such a client need not name one
			EnableTrailers:        true,
		},
		MaxRequestHeadersKb: u32(maxHeaders),
		Proxy_100Continue:   true, // whether a body is wanted is for the application to say
		Http2ProtocolOptions: &corev3.Http2ProtocolOptions{
			InitialStreamWindowSize:     u32(streamWindow),
			InitialConnectionWindowSize: u32(connectionWindow),
		},
		StreamIdleTimeout: seconds(0),
		// A connection without a request ends by itself before its service, if that leaves, is forgotten here.
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: seconds(ClientIdle), MaxHeadersCount: u32(maxHeaderFields)},
		UpgradeConfigs:            upgrades(),
		AccessLog:                 append(b.httpAccessLog(), b.accessLogs()...),
		Tracing:                   b.tracing(),
		EarlyHeaderMutationExtensions: earlyHeaders(
			setHeader(headerDst, "%FILTER_STATE("+stateDst+":PLAIN)%"), setHeader(headerPeer, "%FILTER_STATE("+statePeer+":PLAIN)%"),
			joinTrace()),
		HttpFilters: b.httpFilters(),
		RouteSpecifier: &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
			Name: "services",
			ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder{{
				Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
					HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
						Name:        headerDst,
						ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{Index: 0},
					},
				},
			}}},
			RdsConfigSource: ads(),
			ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: ads()}},
		}},
	}
}

// Limits of headers, in both directions: KiB in all, and fields.
const (
	maxHeaders      = 128
	maxHeaderFields = 500
)

// upgrades are the protocols that a request may begin: WebSocket, and those by which containers are attached to.
// Any other is answered 403.
func upgrades() []*hcmv3.HttpConnectionManager_UpgradeConfig {
	return []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "tcp"}, {UpgradeType: "spdy/3.1"}}
}

// earlyHeaders overwrites headers before a route is looked for.
func earlyHeaders(headers ...*corev3.HeaderValueOption) []*corev3.TypedExtensionConfig {
	m := &earlyv3.HeaderMutation{}
	for _, h := range headers {
		m.Mutations = append(m.Mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: h}})
	}
	return []*corev3.TypedExtensionConfig{{Name: "early", TypedConfig: pack(m)}}
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func routerFilter() *hcmv3.HttpFilter {
	return httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: true})
}

func keepalive() *corev3.KeepaliveSettings {
	return &corev3.KeepaliveSettings{Interval: seconds(10 * time.Second), Timeout: seconds(20 * time.Second)}
}

// scope points an address at its port's route configuration.
func scope(t *target, vip string) *routev3.ScopedRouteConfiguration {
	return &routev3.ScopedRouteConfiguration{
		Name:                   scopeName(t, vip),
		RouteConfigurationName: t.name,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: vip},
		}}},
	}
}

func scopeName(t *target, vip string) string { return t.name + "@" + vip }
