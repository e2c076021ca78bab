package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	logsv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlplogs "go.opentelemetry.io/proto/otlp/logs/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// collector is an OTLP collector's receiving end.
type collector struct {
	tracev1.UnimplementedTraceServiceServer

	mu    sync.Mutex // protects what follows
	spans []*otlptrace.Span
	logs  []*otlplogs.LogRecord
}

func (c *collector) Export(_ context.Context, r *tracev1.ExportTraceServiceRequest) (*tracev1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, res := range r.ResourceSpans {
		for _, s := range res.ScopeSpans {
			c.spans = append(c.spans, s.Spans...)
		}
	}
	return &tracev1.ExportTraceServiceResponse{}, nil
}

// of lists the spans of a trace.
func (c *collector) of(trace string) []*otlptrace.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*otlptrace.Span
	for _, s := range c.spans {
		if hex.EncodeToString(s.TraceId) == trace {
			out = append(out, s)
		}
	}
	return out
}

type logCollector struct {
	logsv1.UnimplementedLogsServiceServer
	c *collector
}

func (l logCollector) Export(_ context.Context, r *logsv1.ExportLogsServiceRequest) (*logsv1.ExportLogsServiceResponse, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for _, res := range r.ResourceLogs {
		for _, s := range res.ScopeLogs {
			l.c.logs = append(l.c.logs, s.LogRecords...)
		}
	}
	return &logsv1.ExportLogsServiceResponse{}, nil
}

func (m *mesh) collector() (*collector, model.ServicePort) {
	c := &collector{}
	at := m.grpcPod("collector", "10.96.0.8", func(s *grpc.Server) {
		tracev1.RegisterTraceServiceServer(s, c)
		logsv1.RegisterLogsServiceServer(s, logCollector{c: c})
	})
	return c, at
}

// telemetry attaches one to service cart, or to the waypoint.
func (m *mesh) telemetry(name string, at model.Target, x *model.Telemetry) {
	a := &model.Attachment{Kind: "Telemetry", Namespace: "shop", Name: name, Target: at, Telemetry: x}
	m.snap.Attachments[a.Key()] = a
}

// A request's trace goes on through the waypoint if its caller records it, and begins there by the percentage.
func TestTracing(t *testing.T) {
	m := newMesh(t)
	c, at := m.collector()
	m.telemetry("wide", model.Target{Waypoint: "shop/wp"}, &model.Telemetry{Tracing: &model.Tracing{Collector: &at}})
	m.telemetry("cart", model.Target{Service: key}, &model.Telemetry{Tracing: &model.Tracing{Tags: []model.SpanTag{{Name: "shop.user", Header: "x-user"}, {Name: "shop.tier", Literal: "gold"}}}})
	m.publish()
	const recorded, silent = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"
	var seen testmesh.Echo
	m.eventually("a recorded trace goes on", func() error {
		if _, _, _, err := ask(m.http, "GET", "/", "traceparent", "00-"+silent+"-b7ad6b7169203331-00"); err != nil {
			return err
		}
		_, e, _, err := ask(m.http, "GET", "/", "traceparent", "00-"+recorded+"-b7ad6b7169203331-01", "x-user", "ann")
		if err != nil {
			return err
		}
		seen = e
		if n := len(c.of(recorded)); n == 0 {
			return fmt.Errorf("no span yet")
		}
		return nil
	})
	if tp := seen.Headers.Get("Traceparent"); !strings.HasPrefix(tp, "00-"+recorded) || strings.Contains(tp, "b7ad6b7169203331") || !strings.HasSuffix(tp, "-01") {
		t.Errorf("the application is given traceparent %q", tp)
	}
	if n := len(c.of(silent)); n != 0 {
		t.Errorf("%d spans of a trace that nobody records", n)
	}
	all := fmt.Sprint(c.of(recorded))
	for _, want := range []string{frontend, key, "shop.user", "ann", "shop.tier", "gold"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in the spans: %s", want, all)
		}
	}
	parented := false
	for _, s := range c.of(recorded) {
		parented = parented || hex.EncodeToString(s.ParentSpanId) == "b7ad6b7169203331"
	}
	if !parented {
		t.Error("no span has the caller's for its parent")
	}
	c.mu.Lock()
	before := len(c.spans)
	c.mu.Unlock()
	m.telemetry("cart", model.Target{Service: key}, &model.Telemetry{Tracing: &model.Tracing{Percentage: 100}})
	m.publish()
	m.eventually("a request without a trace begins one", func() error {
		if _, _, _, err := ask(m.http, "GET", "/new"); err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.spans[before:] {
			if strings.Contains(fmt.Sprint(s.Attributes), "/new") {
				return nil
			}
		}
		return fmt.Errorf("%d spans", len(c.spans))
	})
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

func TestAccessLogs(t *testing.T) {
	m := newMesh(t)
	c, at := m.collector()
	m.service("quiet", "10.96.0.2")
	m.pod("quiet", pods)
	quiet := "shop/quiet.shop.svc.cluster.local"
	m.telemetry("wide", model.Target{Waypoint: "shop/wp"}, &model.Telemetry{AccessLog: &model.AccessLog{Percentage: 100, Fields: map[string]string{"marked": "wide", "path": "%REQ(:PATH)%"}}})
	m.telemetry("quiet", model.Target{Service: quiet}, &model.Telemetry{AccessLog: &model.AccessLog{Disabled: true}})
	m.telemetry("cart", model.Target{Service: key}, &model.Telemetry{AccessLog: &model.AccessLog{
		Percentage: 100, MinStatus: 500, Headers: map[string]string{"x-log": "yes"}, OTLP: &at,
		Fields: map[string]string{"path": "%REQ(:PATH)%", "caller": "%FILTER_STATE(weft.peer:PLAIN)%"},
	}})
	m.service("loud", "10.96.0.3")
	m.pod("loud", pods)
	m.publish()
	loud, silent := m.client.HTTP(t, "10.96.0.3:80"), m.client.HTTP(t, "10.96.0.2:80")
	m.eventually("the collector has the failure", func() error {
		m.podNamed("cart-10").Flaky.Store(1)
		for _, one := range []struct {
			c            *http.Client
			path, header string
		}{{m.http, "/fine", "yes"}, {m.http, "/flaky", "yes"}, {silent, "/quiet", "yes"}, {loud, "/loud", "yes"}} {
			if _, _, _, err := ask(one.c, "POST", one.path, "x-log", one.header); err != nil {
				return err
			}
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.logs) == 0 || !strings.Contains(m.envoy.Output(), `/loud`) {
			return fmt.Errorf("%d logs, output %q", len(c.logs), m.envoy.Output())
		}
		return nil
	})
	c.mu.Lock()
	all := fmt.Sprint(c.logs)
	c.mu.Unlock()
	if !strings.Contains(all, "/flaky") || !strings.Contains(all, frontend) || strings.Contains(all, "/fine") {
		t.Errorf("the collector has %s", all)
	}
	if out := m.envoy.Output(); strings.Contains(out, "/quiet") || strings.Contains(out, "/fine") || !strings.Contains(out, `"marked":"wide"`) {
		t.Errorf("Envoy printed %s", out)
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}
