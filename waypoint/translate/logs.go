package translate

import (
	"math"
	"strconv"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	otlpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	streamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	otlpcommonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

// defaultLog is what a line has where nobody says.
var defaultLog = map[string]string{
	"time": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%", "host": "%REQ(:AUTHORITY)%",
	"code": "%RESPONSE_CODE%", "flags": "%RESPONSE_FLAGS%", "duration_ms": "%DURATION%",
	"bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%", "request_id": "%REQ(X-REQUEST-ID)%", "trace_id": "%TRACE_ID%",
	"caller": "%FILTER_STATE(" + statePeer + ":PLAIN)%", "service": "%METADATA(ROUTE:" + metaNS + ":" + TagService + ")%",
}

// accessLogs are the further logs of what the waypoint serves.
func (b *builder) accessLogs() []*accesslogv3.AccessLog {
	var out []*accesslogv3.AccessLog
	for _, a := range b.logsInOrder() {
		name := a.Namespace + "/" + a.Name
		l, err := b.accessLogSink(name, a.Telemetry.AccessLog)
		if err != nil {
			b.problem(attachmentSource(a), "there is no access log: %v", err)
			continue
		}
		l.Filter = logFilter(name, a.Telemetry.AccessLog)
		out = append(out, l)
		b.ownListeners(attachmentSource(a))
	}
	return out
}

func (b *builder) accessLogSink(name string, l *model.AccessLog) (*accesslogv3.AccessLog, error) {
	fields := l.Fields
	if len(fields) == 0 && l.Text == "" {
		fields = defaultLog
	}
	if l.OTLP == nil {
		out := &streamv3.StdoutAccessLog{AccessLogFormat: &streamv3.StdoutAccessLog_LogFormat{LogFormat: logFormat(fields, l.Text)}}
		return &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(out)}}, nil
	}
	service, err := b.grpcService(*l.OTLP, 0)
	if err != nil {
		return nil, err
	}
	out := &otlpv3.OpenTelemetryAccessLogConfig{GrpcService: service, LogName: name, BufferFlushInterval: seconds(time.Second)}
	if l.Text != "" {
		out.Body = otlpText(l.Text)
	} else {
		out.Attributes = &otlpcommonv1.KeyValueList{}
		for _, k := range sortedKeys(fields) {
			out.Attributes.Values = append(out.Attributes.Values, &otlpcommonv1.KeyValue{Key: k, Value: otlpText(fields[k])})
		}
	}
	return &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(out)}}, nil
}

func otlpText(s string) *otlpcommonv1.AnyValue {
	return &otlpcommonv1.AnyValue{Value: &otlpcommonv1.AnyValue_StringValue{StringValue: s}}
}

func logFormat(fields map[string]string, text string) *corev3.SubstitutionFormatString {
	if text != "" {
		return format(text + "\n")
	}
	line := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for k, v := range fields {
		line.Fields[k] = structpb.NewStringValue(v)
	}
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: line}}
}

// logFilter lets through what took a route of the log and matches.
func logFilter(name string, l *model.AccessLog) *accesslogv3.AccessLogFilter {
	all := []*accesslogv3.AccessLogFilter{{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{ExtensionFilter: &accesslogv3.ExtensionFilter{
		Name: "route",
		ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pack(&celv3.ExpressionFilter{
			Expression: "xds.route_metadata.filter_metadata['" + metaNS + "']['" + metaLog + "'] == " + strconv.Quote(name),
		})},
	}}}}
	atLeast := func(key string, n uint32) *accesslogv3.ComparisonFilter {
		return &accesslogv3.ComparisonFilter{Op: accesslogv3.ComparisonFilter_GE, Value: &corev3.RuntimeUInt32{DefaultValue: n, RuntimeKey: "weft.log." + key}}
	}
	if l.MinStatus > 0 {
		all = append(all, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
			StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: atLeast("status", l.MinStatus)},
		}})
	}
	if ms := l.MinDuration.Milliseconds(); ms > 0 {
		all = append(all, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_DurationFilter{
			DurationFilter: &accesslogv3.DurationFilter{Comparison: atLeast("duration", uint32(min(ms, math.MaxUint32)))},
		}})
	}
	for _, h := range sortedKeys(l.Headers) {
		all = append(all, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
			HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
				Name: h, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exactMatch(l.Headers[h])},
			}},
		}})
	}
	if l.Percentage < 100 {
		all = append(all, &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_RuntimeFilter{
			RuntimeFilter: &accesslogv3.RuntimeFilter{RuntimeKey: "weft.log.percentage", PercentSampled: percent(l.Percentage), UseIndependentRandomness: true},
		}})
	}
	if len(all) == 1 {
		return all[0]
	}
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{AndFilter: &accesslogv3.AndFilter{Filters: all}}}
}
