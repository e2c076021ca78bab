package spans

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

func TestContext(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for _, c := range []struct {
		header   string
		joins    bool
		recorded bool
	}{
		{"00-" + trace + "-" + parent + "-01", true, true},
		{"00-" + trace + "-" + parent + "-00", true, false},
		{"00-" + trace + "-" + parent + "-03", true, true},
		{"01-" + trace + "-" + parent + "-01-more", true, true},
		{"00-" + trace + "-" + parent + "-01-more", false, false},
		{"ff-" + trace + "-" + parent + "-01", false, false},
		{"00-" + strings.Repeat("0", 32) + "-" + parent + "-01", false, false},
		{"00-" + trace + "-" + strings.Repeat("0", 16) + "-01", false, false},
		{"00-" + trace + "-" + parent + "-x1", false, false},
		{"", false, false},
		{strings.Repeat("-", 55), false, false},
	} {
		got := From(c.header, 0)
		if joined := strings.Contains(got.Header(), trace); joined != c.joins || got.Recorded != c.recorded || c.joins && got.Parent == [8]byte{} {
			t.Errorf("%q: %+v", c.header, got)
		}
		if next, ok := parse(got.Header()); !ok || next.Trace != got.Trace || next.Parent != got.Span || next.Recorded != got.Recorded || got.Span == got.Parent {
			t.Errorf("%q is passed on as %q", c.header, got.Header())
		}
	}
	if a, b := From("", 100), From("", 100); !a.Recorded || a.TraceID() == b.TraceID() || a.Parent != [8]byte{} {
		t.Errorf("%+v, %+v", a, b)
	}
	if c := From("00-"+trace+"-"+parent+"-00", 100); c.Recorded || c.TraceID() != "" {
		t.Error("a percentage overrules the caller")
	}
}

// receiver is a collector that answers when it is told to.
type receiver struct {
	collectorv1.UnimplementedTraceServiceServer
	answer func() (*collectorv1.ExportTraceServiceResponse, error)
	mu     sync.Mutex // protects got
	got    []*tracev1.ResourceSpans
}

func (r *receiver) Export(_ context.Context, m *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	r.got = append(r.got, m.ResourceSpans...)
	r.mu.Unlock()
	return r.answer()
}

func start(t *testing.T, r *receiver, o Options) (e *Exporter, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(s, r)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := Dial("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	o.Conn = conn
	e = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return e, stop
}

func fine() (*collectorv1.ExportTraceServiceResponse, error) {
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func TestWhatWaitsIsSentAtTheEnd(t *testing.T) {
	r := &receiver{answer: fine}
	e, stop := start(t, r, Options{Every: time.Hour, Resource: nil})
	for range 10 {
		e.Add(&tracev1.Span{Name: "one"})
	}
	stop()
	if e.Sent() != 10 || e.Dropped() != 0 || len(r.got) != 1 || len(r.got[0].ScopeSpans[0].Spans) != 10 {
		t.Errorf("%d sent, %d dropped, %v", e.Sent(), e.Dropped(), r.got)
	}
}

// Who records never waits for the collector: what it leaves no room for is dropped and counted.
func TestSlowCollector(t *testing.T) {
	called, release := make(chan struct{}, 8), make(chan struct{})
	r := &receiver{answer: func() (*collectorv1.ExportTraceServiceResponse, error) {
		called <- struct{}{}
		<-release
		return fine()
	}}
	e, stop := start(t, r, Options{Every: time.Hour, Queue: batch})
	for range batch {
		e.Add(&tracev1.Span{})
	}
	<-called // a full message goes at once, and hangs
	for range batch + 7 {
		e.Add(&tracev1.Span{})
	}
	if e.Dropped() != 7 {
		t.Errorf("%d dropped, want 7", e.Dropped())
	}
	close(release)
	stop()
	if e.Sent() != 2*batch || e.Dropped() != 7 {
		t.Errorf("%d sent, %d dropped", e.Sent(), e.Dropped())
	}
}

func TestRefusedSpansAreCounted(t *testing.T) {
	r := &receiver{answer: func() (*collectorv1.ExportTraceServiceResponse, error) {
		return &collectorv1.ExportTraceServiceResponse{PartialSuccess: &collectorv1.ExportTracePartialSuccess{RejectedSpans: 2}}, nil
	}}
	e, stop := start(t, r, Options{Every: time.Hour})
	for range 5 {
		e.Add(&tracev1.Span{})
	}
	stop()
	if e.Sent() != 3 || e.Dropped() != 2 {
		t.Errorf("%d sent, %d dropped", e.Sent(), e.Dropped())
	}
	r = &receiver{answer: func() (*collectorv1.ExportTraceServiceResponse, error) { return nil, errors.New("no room") }}
	e, stop = start(t, r, Options{Every: time.Hour})
	e.Add(&tracev1.Span{})
	stop()
	if e.Sent() != 0 || e.Dropped() != 1 {
		t.Errorf("%d sent, %d dropped", e.Sent(), e.Dropped())
	}
}

func TestDial(t *testing.T) {
	for endpoint, good := range map[string]bool{
		"http://collector.obs:4317": true, "https://collector:443": true, "http://[::1]:4317/": true,
		"collector:4317": false, "http://collector": false, "ftp://collector:4317": false, "http://collector:4317/v1/traces": false, "": false,
	} {
		c, err := Dial(endpoint)
		if (err == nil) != good {
			t.Errorf("%q: %v", endpoint, err)
		}
		if c != nil {
			c.Close()
		}
	}
	var none *Exporter
	none.Add(nil)
	none.Run(t.Context())
	if none.Sent()+none.Dropped() != 0 {
		t.Error("nothing was counted as something")
	}
}
