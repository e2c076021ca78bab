package launcher

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/translate"
)

// fields are those of an entry, by number; none are "-".
type fields map[int]string

func (f fields) text() string {
	all := make([]string, translate.LogFields)
	for i := range all {
		all[i] = cmp.Or(f[i], "-")
	}
	return strings.Join(all, translate.LogSeparator)
}

func read(t *testing.T, logName string, m *accesslogv3.HTTPAccessLogEntry) *entry {
	t.Helper()
	e := &entry{code: 999, own: map[string]string{"rest": "of the last"}}
	e.read(logName, encode(t, m))
	return e
}

func encode(t *testing.T, m proto.Message) message {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return message(b)
}

// send gives a reporter one message of a stream.
func (r *reporter) send(t *testing.T, logName string, entries ...*accesslogv3.HTTPAccessLogEntry) {
	t.Helper()
	(&intake{r: r}).take(encode(t, &alsv3.StreamAccessLogsMessage{
		Identifier: &alsv3.StreamAccessLogsMessage_Identifier{Node: &corev3.Node{Id: "wp"}, LogName: logName},
		LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: entries}},
	}))
}

func logEntry(f fields) *accesslogv3.HTTPAccessLogEntry {
	tags := map[string]string{"other": "f00", translate.LogTag: f.text()}
	return &accesslogv3.HTTPAccessLogEntry{
		CommonProperties: &accesslogv3.AccessLogCommon{
			StartTime: timestamppb.New(time.Unix(0, 0)), Duration: durationpb.New(1500 * time.Microsecond), CustomTags: tags,
			DownstreamRemoteAddress: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: "10.1.2.3", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 4242}}}},
			UpstreamTransportFailureReason: "expected SANs",
		},
		Request:  &accesslogv3.HTTPRequestProperties{RequestMethod: corev3.RequestMethod_POST, Path: "/api", Authority: "cart"},
		Response: &accesslogv3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(503), ResponseCodeDetails: "upstream_reset"},
	}
}

func TestEntry(t *testing.T) {
	e := read(t, translate.LogHTTP, logEntry(fields{
		translate.FieldPeer: "spiffe://cluster.local/ns/shop/sa/frontend", translate.FieldBaggage: "k8s.namespace.name=lies, k8s.deployment.name=web,service.version=v1",
		translate.FieldDst: "10.96.0.1:80", translate.FieldService: "shop/cart.shop.svc.cluster.local", translate.FieldKind: "http", translate.FieldFlags: "UC",
		translate.FieldSAN: "-", translate.FieldEndpoint: "10.1.0.1:8080", translate.FieldWorkload: "shop/cart", translate.FieldGRPC: "14", translate.FieldDenyDry: "shop/p[0]", translate.FieldAllowDry: "allowed",
	}))
	var out bytes.Buffer
	log := newLineLog(&out, telemetry.FormatText)
	log.write(log.append(nil, e))
	want := `1970-01-01T00:00:00Z grpc POST cart/api 503 UC 1.5ms spiffe://cluster.local/ns/shop/sa/frontend (10.1.2.3:4242) -> 10.96.0.1:80 -> - (10.1.0.1:8080) details="upstream_reset" failure="expected SANs" dry_run="shop/p[0]"` + "\n"
	if out.String() != want {
		t.Errorf("got  %swant %s", out.String(), want)
	}
	if e.source.Namespace != "shop" || e.source.Workload != "web" {
		t.Errorf("the namespace is the certificate's: %+v", e.source)
	}
	if e.secure {
		t.Error("an endpoint without an expected identity is not secured")
	}
	if e := read(t, translate.LogHTTP, &accesslogv3.HTTPAccessLogEntry{}); e.flags != "-" || e.code != 0 || e.own != nil {
		t.Error("an empty entry")
	}
}

// A policy's refusal has the flag that ztunnels give it.
func TestDeniedHasAFlag(t *testing.T) {
	m := logEntry(fields{translate.FieldKind: "tcp", translate.FieldFlags: "-"})
	m.Response.ResponseCodeDetails = "rbac_access_denied_matched_policy[shop/callers[none]]"
	for _, stream := range []string{translate.LogTCP, translate.LogHTTP} {
		if e := read(t, stream, m); e.flags != string(telemetry.FlagDenied) {
			t.Errorf("%s: flags %s, want %s", stream, e.flags, telemetry.FlagDenied)
		}
	}
}

// Label sets are bounded: what a caller makes up beyond the bound is counted together.
func TestSeriesAreBounded(t *testing.T) {
	r := newReporter(Options{MetricPrefix: "t_", AccessLog: telemetry.FormatOff})
	for i := range maxSeries + 50 {
		r.send(t, translate.LogHTTP, logEntry(fields{translate.FieldPeer: fmt.Sprintf("spiffe://cluster.local/ns/n%d/sa/x", i)}))
	}
	families, err := r.metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "t_requests_total" {
			continue
		}
		if n := len(f.GetMetric()); n != maxSeries+1 {
			t.Errorf("%d series, want %d", n, maxSeries+1)
		}
		for _, m := range f.GetMetric() {
			if strings.Contains(m.String(), "overflow") && m.GetCounter().GetValue() == 50 {
				return
			}
		}
	}
	t.Error("no overflow series with 50 requests")
}

// All that is read of an entry is where the generated code writes it, and what is cut short is read as far as it goes.
func TestEntryIsReadAsItIsWritten(t *testing.T) {
	m := logEntry(fields{
		translate.FieldFlags: "UF", translate.FieldKind: "http", translate.FieldSAN: "spiffe://td/ns/a/sa/b", translate.FieldMetrics: "{}",
		translate.FieldService: "workload/x", translate.FieldLabels: `{"a":"b\n"}`, translate.FieldAllowDry: "denied", translate.FieldGRPC: "q-q",
	})
	c := m.CommonProperties
	c.StartTime, c.Duration = &timestamppb.Timestamp{Seconds: 1e9, Nanos: 7}, durationpb.New(-1500*time.Millisecond)
	c.RouteName, c.UpstreamRequestAttemptCount, c.SampleRate, c.TimeToLastRxByte = "r", 300, 1, durationpb.New(time.Second)
	c.AccessLogType = accesslogv3.AccessLogType_DownstreamTunnelSuccessfullyEstablished
	c.DownstreamRemoteAddress.GetSocketAddress().Address = "fd00::1"
	m.Request.RequestMethod, m.Request.OriginalPath, m.Request.RequestId, m.Request.RequestBodyBytes = corev3.RequestMethod_PATCH, "/was", "id", 1<<40
	m.Response.ResponseBodyBytes, m.Response.ResponseHeadersBytes = 2, 3
	// What Envoy sends need not be UTF-8, as Marshal demands.
	b := message(strings.Replace(string(encode(t, m)), "q-q", "q\xffq", 1))
	got := &entry{}
	got.read(translate.LogHTTP, b)
	want := &entry{
		time: time.Unix(1e9, 7), duration: -1500 * time.Millisecond, start: true, protocol: "grpc", kind: "http", method: "PATCH", path: "/was",
		host: "cart", requestID: "id", code: 503, grpc: "q?q", flags: "UF", details: "upstream_reset", failure: "expected SANs", sent: 1 << 40,
		received: 2, attempts: 300, sourceAddr: netip.MustParseAddrPort("[fd00::1]:4242"), route: "r", secure: true, metrics: "{}",
		own: map[string]string{"a": "b\n"}, dryRun: []string{"no ALLOW policy in dry run matches"},
	}
	want.dest.Principal = "spiffe://td/ns/a/sa/b"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for i := range b {
		(&intake{r: newReporter(Options{AccessLog: telemetry.FormatOff})}).take(b[:i])
		got.read(translate.LogHTTP, b[:i])
	}
}

// What is written by hand is what encoding/json writes.
func TestLineAsJSON(t *testing.T) {
	texts := []string{"", "plain", `a"\<>&`, "\x00\n\x7f", "ä\u2028", "\xff\xfe"}
	for i := range 200 {
		pick := func(n int) string { return texts[(i*7+n*(i/6+1))%len(texts)] }
		l := line{
			Time: time.Unix(int64(i)*1e7, int64(i)*1e6).UTC(), Protocol: pick(0), Method: pick(1), Host: pick(2), Path: pick(3), Code: uint32(i % 3), GRPC: pick(4),
			Flags: pick(5), Details: pick(6), Failure: pick(7), Duration: float64(i*i*i) / 1000, Sent: uint64(i), Received: uint64(i) << 40, Attempts: uint32(i % 2),
			SrcAddr: pick(8), SrcName: pick(9), SrcID: pick(10), Dialled: pick(11), Service: pick(12), DstAddr: pick(13), DstName: pick(14),
			DstID: pick(15), DstSec: pick(16), Route: pick(17), RequestID: pick(18),
		}
		for range i % 3 {
			l.DryRun = append(l.DryRun, pick(19))
		}
		want, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.json(nil); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	}
}

func BenchmarkRequest(b *testing.B) {
	one := logEntry(fields{
		translate.FieldPeer: "spiffe://cluster.local/ns/shop/sa/frontend", translate.FieldBaggage: "k8s.namespace.name=shop,k8s.deployment.name=web",
		translate.FieldDst: "10.96.0.1:80", translate.FieldService: "shop/cart.shop.svc.cluster.local", translate.FieldKind: "http",
		translate.FieldSAN: "spiffe://cluster.local/ns/shop/sa/cart", translate.FieldEndpoint: "10.1.0.1:8080", translate.FieldWorkload: "shop/cart",
	})
	m := &alsv3.StreamAccessLogsMessage_HTTPAccessLogEntries{}
	for range 50 {
		m.LogEntry = append(m.LogEntry, one)
	}
	text, err := proto.Marshal(&alsv3.StreamAccessLogsMessage{LogEntries: &alsv3.StreamAccessLogsMessage_HttpLogs{HttpLogs: m}})
	if err != nil {
		b.Fatal(err)
	}
	in := &intake{r: newReporter(Options{AccessLog: telemetry.FormatJSON, Out: io.Discard}), name: translate.LogHTTP}
	b.ReportAllocs()
	for range b.N/50 + 1 {
		in.take(message(text))
	}
}
