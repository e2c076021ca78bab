package e2e

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/telemetry/spans"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/flow"
)

const tracedShop = `
apiVersion: v1
kind: Service
metadata: {name: collector, namespace: shop, labels: {weft.dev/use-waypoint: none}}
spec: {clusterIP: 10.96.0.8, selector: {app: collector}, ports: [{name: grpc, port: 4317}]}
---
apiVersion: weft.dev/v1alpha1
kind: Telemetry
metadata: {name: traces, namespace: shop}
spec: {tracing: {collector: {name: collector, port: 4317}, percentage: %d, connectionPercentage: %d}}
`

func (c *collector) listen(t *testing.T, at string) string {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	tracev1.RegisterTraceServiceServer(s, c)
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

// newTracedShop has one collector for ztunnel and waypoint, which begin traces of so many of a hundred as a Telemetry
// says, whatever ztunnel is told.
func newTracedShop(t *testing.T, ztunnelShare, waypointShare int) (*world, *collector) {
	t.Helper()
	c := &collector{}
	conn, err := spans.Dial("http://" + c.listen(t, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w := newWorldWith(t, func(o *ztunnel.Options) {
		o.Spans, o.TracePercentage = spans.New(spans.Options{Conn: conn, Every: 10 * time.Millisecond}), float64(100-ztunnelShare)
	}).withShop("")
	w.withWaypoint()
	w.write("traced", fmt.Sprintf(tracedShop, waypointShare, ztunnelShare)+"---\n"+podManifest("shop", "collector-1", "collector", "collector", "10.1.0.8"))
	w.apply()
	c.listen(t, netip.AddrPortFrom(w.realOf(netip.MustParseAddr("10.1.0.8")), 4317).String())
	w.becomes("a request through the waypoint", passed, func() outcome { return w.request("shop/cart-1", "10.96.0.1:80", "GET") })
	return w, c
}

// anew makes a request for which the waypoint opens a connection to the pod: it keeps those that it has, and only a
// request that opens one shows at the pod's ztunnel.
func (w *world) anew(header ...string) {
	w.zt.Flows.Each(func(f *flow.Flow) {
		if f.Direction == flow.Inbound {
			f.Kill(&flow.Failure{Cause: "the test wants another"})
		}
	})
	conn, err := w.dial("shop/cart-1", "10.96.0.1:80")
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: payments\r\nConnection: close\r\n%s\r\n", strings.Join(header, ""))
	_, _ = http.ReadResponse(bufio.NewReader(conn), nil)
}

// A connection that begins a trace at its caller's ztunnel, the request on it at the waypoint, and the tunnel that
// this opens to the pod's ztunnel are one trace, each the child of the one before.
func TestTraceFromZtunnelToZtunnel(t *testing.T) {
	w, c := newTracedShop(t, 100, 0)
	var chain []*otlptrace.Span
	testmesh.Eventually(t, 15*time.Second, "a trace leads through", func() error {
		w.anew()
		if chain = c.chain(""); chain == nil || attribute(chain[0], "weft.direction") != "outbound" {
			return fmt.Errorf("none in %s", c)
		}
		return nil
	})
	out, in := chain[0], chain[len(chain)-1]
	if len(chain) < 3 {
		t.Errorf("the waypoint is not part of it: %v", chain)
	}
	for _, s := range []struct {
		span      *otlptrace.Span
		key, want string
	}{
		{out, "weft.source.identity", "spiffe://cluster.local/ns/shop/sa/cart"}, {out, "weft.waypoint", "shop/wp-1"}, {out, "weft.security", "mutual_tls"},
		{in, "weft.source.identity", "spiffe://cluster.local/ns/shop/sa/wp"}, {in, "weft.destination.workload", "shop/payments-1"},
	} {
		if got := attribute(s.span, s.key); got != s.want {
			t.Errorf("%s of %s is %q, want %q", s.key, s.span.Name, got, s.want)
		}
	}
	if out.Kind != otlptrace.Span_SPAN_KIND_CLIENT || in.Kind != otlptrace.Span_SPAN_KIND_SERVER || out.EndTimeUnixNano < out.StartTimeUnixNano {
		t.Errorf("%v, %v", out, in)
	}
	testmesh.Eventually(t, 15*time.Second, "the end of the connection has its bytes", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, s := range c.spans {
			if string(s.ParentSpanId) == string(out.SpanId) && strings.HasPrefix(s.Name, "carry ") && strings.Contains(fmt.Sprint(s.Attributes), "weft.bytes.sent") {
				return nil
			}
		}
		return fmt.Errorf("not yet")
	})
	if n := w.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// Where ztunnels begin no traces they go on with those that come: of the application, recorded or not, and of the
// waypoint.
func TestZtunnelGoesOnWithTraces(t *testing.T) {
	const recorded, silent = "0af7651916cd43dd8448eb211c80319c", "1bf7651916cd43dd8448eb211c80319c"
	w, c := newTracedShop(t, 0, 0)
	testmesh.Eventually(t, 15*time.Second, "the application's trace reaches the pod's ztunnel", func() error {
		w.anew("traceparent: 00-" + silent + "-b7ad6b7169203331-00\r\n")
		w.anew("traceparent: 00-" + recorded + "-b7ad6b7169203331-01\r\n")
		if c.chain(recorded) == nil {
			return fmt.Errorf("none in %s", c)
		}
		return nil
	})
	if s := c.String(); strings.Contains(s, silent) {
		t.Errorf("spans of what nobody records: %s", s)
	}
	w, c = newTracedShop(t, 0, 100)
	testmesh.Eventually(t, 15*time.Second, "the waypoint's trace reaches the pod's ztunnel", func() error {
		w.anew()
		if chain := c.chain(""); chain == nil || attribute(chain[0], "weft.direction") != "" {
			return fmt.Errorf("none in %s", c)
		}
		return nil
	})
	if n := w.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// chain is a trace as far as a pod's ztunnel, from its first span; nil if there is none of that id.
func (c *collector) chain(trace string) []*otlptrace.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	byID := map[string]*otlptrace.Span{}
	for _, s := range c.spans {
		byID[string(s.SpanId)] = s
	}
	for _, s := range c.spans {
		chain := []*otlptrace.Span{s}
		for p := byID[string(s.ParentSpanId)]; p != nil; p = byID[string(p.ParentSpanId)] {
			chain = append([]*otlptrace.Span{p}, chain...)
		}
		of := trace == "" || hex.EncodeToString(s.TraceId) == trace
		if of && len(chain) > 1 && attribute(s, "weft.direction") == "inbound" && strings.HasPrefix(s.Name, "open payments") && len(chain[0].ParentSpanId) == 0 == (trace == "") {
			return chain
		}
	}
	return nil
}

func (c *collector) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf("%d spans\n", len(c.spans))
	for _, s := range c.spans {
		text += fmt.Sprintf("%x %x <- %x %s %s\n", s.TraceId, s.SpanId, s.ParentSpanId, s.Name, attribute(s, "weft.direction"))
	}
	return text
}

func attribute(s *otlptrace.Span, key string) string {
	for _, kv := range s.Attributes {
		if kv.Key == key {
			return kv.Value.GetStringValue()
		}
	}
	return ""
}
