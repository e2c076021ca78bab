package translate

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
)

// Names of the two log streams to the launcher.
const (
	LogHTTP = "http" // one entry a request
	LogTCP  = "tcp"  // one entry at the start and one at the end of each CONNECT
)

// Tags of a log entry, beside what Envoy's own message says.
const (
	TagPeer     = "peer"      // caller's SPIFFE URI
	TagBaggage  = "baggage"   // caller's workload
	TagDst      = "dst"       // address:port asked for
	TagService  = "service"   // Service.Key() or workload/<uid>; of the route
	TagKind     = "kind"      // http, tcp or auto; of the route
	TagSAN      = "san"       // SPIFFE URI expected of the endpoint; empty outside the mesh
	TagEndpoint = "endpoint"  // address:port of the endpoint's application
	TagWorkload = "workload"  // <namespace>/<owner> of the endpoint
	TagFlags    = "flags"     // Envoy's short codes, comma separated; "-" none
	TagGRPC     = "grpc"      // gRPC status; empty for anything else
	TagMetrics  = "metrics"   // how the request is counted: a model.Metrics in JSON; of the route
	TagLabels   = "labels"    // labels from headers, a JSON object
	TagDenyDry  = "dry_deny"  // what a DENY policy in dry run would have done: namespace/name[rule], else empty
	TagAllowDry = "dry_allow" // denied when the ALLOW policies in dry run would have refused it, else empty
)

// rbacMetadata is where Envoy's RBAC filters leave what their shadow rules decided.
const rbacMetadata = "envoy.filters.http.rbac"

func (b *builder) httpAccessLog() []*accesslogv3.AccessLog {
	return b.accessLog(LogHTTP, map[string]string{
		TagPeer:    "%FILTER_STATE(" + statePeer + ":PLAIN)%",
		TagBaggage: "%FILTER_STATE(" + stateBaggage + ":PLAIN)%",
		TagDst:     "%FILTER_STATE(" + stateDst + ":PLAIN)%",
		TagMetrics: "%METADATA(ROUTE:" + metaNS + ":" + TagMetrics + ")%",
		TagLabels:  "%DYNAMIC_METADATA(" + metaLabels + ")%",
	})
}

func (b *builder) tcpAccessLog() []*accesslogv3.AccessLog {
	return b.accessLog(LogTCP, map[string]string{
		TagPeer:    "%DOWNSTREAM_PEER_URI_SAN%",
		TagBaggage: "%REQ(baggage)%",
		TagDst:     "%REQ(:AUTHORITY)%",
	})
}

func (b *builder) accessLog(name string, tags map[string]string) []*accesslogv3.AccessLog {
	if b.cfg.NoAccessLog {
		return nil
	}
	tags[TagService] = "%METADATA(ROUTE:" + metaNS + ":" + TagService + ")%"
	tags[TagKind] = "%METADATA(ROUTE:" + metaNS + ":" + TagKind + ")%"
	tags[TagDenyDry] = "%DYNAMIC_METADATA(" + rbacMetadata + ":" + shadowDeny + "shadow_effective_policy_id)%"
	tags[TagAllowDry] = "%DYNAMIC_METADATA(" + rbacMetadata + ":" + shadowAllow + "shadow_engine_result)%"
	tags[TagFlags] = "%RESPONSE_FLAGS%"
	tags[TagGRPC] = "%GRPC_STATUS_NUMBER%"
	tags[TagWorkload] = "%METADATA(UPSTREAM_HOST:" + metaNS + ":" + metaWorkload + ")%"
	tags[TagSAN] = "%METADATA(UPSTREAM_HOST:" + metaNS + ":" + metaSAN + ")%"
	tags[TagEndpoint] = "%METADATA(UPSTREAM_HOST:" + metaNS + ":" + metaAuthority + ")%"
	common := &alsv3.CommonGrpcAccessLogConfig{
		LogName:             name,
		GrpcService:         launcherService(),
		TransportApiVersion: corev3.ApiVersion_V3,
		BufferFlushInterval: seconds(200 * time.Millisecond),
	}
	for _, k := range sortedKeys(tags) {
		common.CustomTags = append(common.CustomTags, &tracingv3.CustomTag{Tag: k, Type: &tracingv3.CustomTag_Value{Value: tags[k]}})
	}
	return []*accesslogv3.AccessLog{{
		Name:       name,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&alsv3.HttpGrpcAccessLogConfig{CommonConfig: common})},
	}}
}
