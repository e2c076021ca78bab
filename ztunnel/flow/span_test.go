package flow

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
)

type collector struct {
	collectorv1.UnimplementedTraceServiceServer
	mu  sync.Mutex // protects got
	got []*tracev1.Span
}

func (c *collector) Export(_ context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		c.got = append(c.got, rs.ScopeSpans[0].Spans...)
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

// traced has a table whose spans are all sent when finish returns them.
func traced(t *testing.T, percentage float64) (b *bench, finish func() []*tracev1.Span) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	s := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := spans.Dial("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	e := spans.New(spans.Options{Conn: conn, Every: time.Hour})
	b = newBench()
	b.Table.spans, b.percent = e, percentage
	return b, func() []*tracev1.Span {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e.Run(ctx)
		return c.got
	}
}

func TestSpansOfConnections(t *testing.T) {
	b, finish := traced(t, 100)
	f := &Flow{Pod: "shop/cart-1", Direction: Outbound, Service: "cart.shop.svc.cluster.local"}
	b.Open(f)
	b.Trace(f, "")
	f.Established()
	f.Sent.Add(7)
	f.End(nil)
	refused := &Flow{Pod: "shop/cart-1", Direction: Inbound}
	b.Open(refused)
	b.Trace(refused, f.Trace.Header())
	refused.End(&Failure{Flag: telemetry.FlagDenied, Cause: "no", Policy: "shop/p"})
	if got := b.lastLine(t)["trace_id"]; got != f.Trace.TraceID() {
		t.Errorf("the access log has trace_id %v", got)
	}
	got := finish()
	if len(got) != 3 {
		t.Fatalf("%d spans: %v", len(got), got)
	}
	open, carry, denied := got[0], got[1], got[2]
	if open.Name != "open cart.shop.svc.cluster.local" || open.Kind != tracev1.Span_SPAN_KIND_CLIENT || len(open.ParentSpanId) != 0 {
		t.Errorf("%v", open)
	}
	if carry.Name != "carry cart.shop.svc.cluster.local" || string(carry.ParentSpanId) != string(open.SpanId) || string(carry.SpanId) == string(open.SpanId) {
		t.Errorf("%v", carry)
	}
	if denied.Kind != tracev1.Span_SPAN_KIND_SERVER || string(denied.ParentSpanId) != string(open.SpanId) || string(denied.TraceId) != string(open.TraceId) ||
		denied.Status.GetCode() != tracev1.Status_STATUS_CODE_ERROR || denied.Status.GetMessage() != "no" {
		t.Errorf("%v", denied)
	}
}

func TestSpansOfWhatIsNotRecorded(t *testing.T) {
	b, finish := traced(t, 0)
	f := &Flow{Direction: Outbound}
	b.Open(f)
	b.Trace(f, "")
	f.Established()
	f.End(nil)
	if got := finish(); len(got) != 0 || f.Trace.Header() == "" {
		t.Errorf("%v", got)
	}
	if id, there := b.lastLine(t)["trace_id"]; there {
		t.Errorf("the access log has trace_id %v", id)
	}
}

// Of how many connections a trace is begun, their service says before the ztunnel; of a trace that came, its caller.
func TestServiceSaysWhatIsSampled(t *testing.T) {
	s := &model.Service{Samples: []model.Sample{{Percentage: 0}, {Port: 80, Percentage: 100}}}
	const recorded = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		what   string
		own    float64
		header string
		s      *model.Service
		port   uint16
		want   bool
	}{
		{"a port of its own", 0, "", s, 80, true}, {"another port", 100, "", s, 81, false},
		{"a service that says nothing", 100, "", &model.Service{}, 80, true}, {"no service", 100, "", nil, 80, true},
		{"a trace that came", 0, recorded, s, 81, true}, {"one that nobody records", 100, recorded[:len(recorded)-1] + "0", s, 80, false},
	} {
		b, _ := traced(t, c.own)
		f := &Flow{}
		b.Trace(f, c.header)
		b.Sample(f, c.s, c.port)
		if f.Trace.Recorded != c.want {
			t.Errorf("%s: recorded %v", c.what, f.Trace.Recorded)
		}
	}
	b := newBench()
	f := &Flow{}
	b.Trace(f, "")
	b.Sample(f, s, 80)
	if f.Trace.Recorded {
		t.Error("without a collector others are asked to record")
	}
}
