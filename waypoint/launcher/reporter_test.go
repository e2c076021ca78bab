package launcher

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/translate"
)

func logEntry(tags map[string]string) *accesslogv3.HTTPAccessLogEntry {
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
	e := newEntry(translate.LogHTTP, logEntry(map[string]string{
		translate.TagPeer: "spiffe://cluster.local/ns/shop/sa/frontend", translate.TagBaggage: "k8s.namespace.name=lies, k8s.deployment.name=web,service.version=v1",
		translate.TagDst: "10.96.0.1:80", translate.TagService: "shop/cart.shop.svc.cluster.local", translate.TagKind: "http", translate.TagFlags: "UC",
		translate.TagSAN: "-", translate.TagEndpoint: "10.1.0.1:8080", translate.TagWorkload: "shop/cart", translate.TagGRPC: "14", translate.TagDenyDry: "shop/p[0]", translate.TagAllowDry: "allowed",
	}))
	var out bytes.Buffer
	newLineLog(&out, telemetry.FormatText).write(e)
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
	if l := newEntry(translate.LogHTTP, &accesslogv3.HTTPAccessLogEntry{}); l.requestLabels() == nil || l.flags != "-" {
		t.Error("an empty entry")
	}
}

// A policy's refusal has the flag that ztunnels give it.
func TestDeniedHasAFlag(t *testing.T) {
	m := logEntry(map[string]string{translate.TagKind: "tcp", translate.TagFlags: "-"})
	m.Response.ResponseCodeDetails = "rbac_access_denied_matched_policy[shop/callers[none]]"
	for _, stream := range []string{translate.LogTCP, translate.LogHTTP} {
		if e := newEntry(stream, m); e.flags != string(telemetry.FlagDenied) {
			t.Errorf("%s: flags %s, want %s", stream, e.flags, telemetry.FlagDenied)
		}
	}
}

// Label sets are bounded: what a caller makes up beyond the bound is counted together.
func TestSeriesAreBounded(t *testing.T) {
	r := newReporter(Options{MetricPrefix: "t_", AccessLog: telemetry.FormatOff})
	for i := range maxSeries + 50 {
		r.report(newEntry(translate.LogHTTP, logEntry(map[string]string{translate.TagPeer: fmt.Sprintf("spiffe://cluster.local/ns/n%d/sa/x", i)})))
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
