package translate

import (
	"strings"
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

// Fields of a log entry, beside what Envoy's own message says. All come in one tag, in this order, for a tag of its
// own for each costs more than the whole rest of the log; "-" stands for none.
const (
	FieldPeer     = iota // caller's SPIFFE URI
	FieldBaggage         // caller's workload
	FieldDst             // address:port asked for
	FieldService         // Service.Key() or workload/<uid>; of the route
	FieldKind            // http, tcp or auto; of the route
	FieldSAN             // SPIFFE URI expected of the endpoint; none outside the mesh
	FieldEndpoint        // address:port of the endpoint's application
	FieldWorkload        // <namespace>/<owner> of the endpoint
	FieldFlags           // Envoy's short codes, comma separated
	FieldGRPC            // gRPC status; none for anything else
	FieldMetrics         // how the request is counted: a model.Metrics in JSON; of the route
	FieldLabels          // labels from headers, a JSON object
	FieldDenyDry         // what a DENY policy in dry run would have done: namespace/name[rule], or none
	FieldAllowDry        // denied when the ALLOW policies in dry run would have refused it
	LogFields            // how many
)

// LogTag is the name of that tag.
const LogTag = "weft"

// LogSeparator is between fields. No header can have it, nor does JSON.
const LogSeparator = "\n"

// What a route says of itself, in its metadata.
const (
	TagService = "service" // as FieldService
	TagKind    = "kind"    // as FieldKind
	TagMetrics = "metrics" // as FieldMetrics
)

// logBuffer is how many bytes of entries are sent together: some fifty.
const logBuffer = 64 << 10

// rbacMetadata is where Envoy's RBAC filters leave what their shadow rules decided.
const rbacMetadata = "envoy.filters.http.rbac"

func (b *builder) httpAccessLog() []*accesslogv3.AccessLog {
	return b.accessLog(LogHTTP, func(f *[LogFields]string) {
		f[FieldPeer] = "%FILTER_STATE(" + statePeer + ":PLAIN)%"
		f[FieldBaggage] = "%FILTER_STATE(" + stateBaggage + ":PLAIN)%"
		f[FieldDst] = "%FILTER_STATE(" + stateDst + ":PLAIN)%"
		f[FieldMetrics] = "%METADATA(ROUTE:" + metaNS + ":" + TagMetrics + ")%"
		f[FieldLabels] = "%DYNAMIC_METADATA(" + metaLabels + ")%"
	})
}

func (b *builder) tcpAccessLog() []*accesslogv3.AccessLog {
	return b.accessLog(LogTCP, func(f *[LogFields]string) {
		f[FieldPeer] = "%DOWNSTREAM_PEER_URI_SAN%"
		f[FieldBaggage] = "%REQ(baggage)%"
		f[FieldDst] = "%REQ(:AUTHORITY)%"
		f[FieldMetrics], f[FieldLabels] = "-", "-"
	})
}

func (b *builder) accessLog(name string, more func(*[LogFields]string)) []*accesslogv3.AccessLog {
	if b.cfg.NoAccessLog {
		return nil
	}
	fields := [LogFields]string{
		FieldService:  "%METADATA(ROUTE:" + metaNS + ":" + TagService + ")%",
		FieldKind:     "%METADATA(ROUTE:" + metaNS + ":" + TagKind + ")%",
		FieldDenyDry:  "%DYNAMIC_METADATA(" + rbacMetadata + ":" + shadowDeny + "shadow_effective_policy_id)%",
		FieldAllowDry: "%DYNAMIC_METADATA(" + rbacMetadata + ":" + shadowAllow + "shadow_engine_result)%",
		FieldFlags:    "%RESPONSE_FLAGS%",
		FieldGRPC:     "%GRPC_STATUS_NUMBER%",
		FieldWorkload: "%METADATA(UPSTREAM_HOST:" + metaNS + ":" + metaWorkload + ")%",
		FieldSAN:      "%METADATA(UPSTREAM_HOST:" + metaNS + ":" + metaSAN + ")%",
		FieldEndpoint: "%METADATA(UPSTREAM_HOST:" + metaNS + ":" + metaAuthority + ")%",
	}
	more(&fields)
	common := &alsv3.CommonGrpcAccessLogConfig{
		LogName:             name,
		GrpcService:         launcherService(),
		TransportApiVersion: corev3.ApiVersion_V3,
		BufferFlushInterval: seconds(200 * time.Millisecond),
		BufferSizeBytes:     u32(logBuffer),
		CustomTags: []*tracingv3.CustomTag{{
			Tag: LogTag, Type: &tracingv3.CustomTag_Value{Value: strings.Join(fields[:], LogSeparator)},
		}},
	}
	return []*accesslogv3.AccessLog{{
		Name:       name,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(&alsv3.HttpGrpcAccessLogConfig{CommonConfig: common})},
	}}
}
