package launcher

import (
	"errors"
	"io"
	"net/http"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/translate"
)

// reporterWaypoint is this proxy in the label reporter.
const reporterWaypoint telemetry.Reporter = "waypoint"

// reporter receives Envoy's access logs and turns them into metrics and lines.
type reporter struct {
	metrics *telemetry.Metrics
	counts  *counters
	log     *lineLog
}

func newReporter(o Options) *reporter {
	r := &reporter{
		metrics: telemetry.NewMetrics(telemetry.Options{Prefix: o.MetricPrefix}),
		log:     newLineLog(o.Out, o.AccessLog),
	}
	r.counts = newCounters(r.metrics)
	return r
}

// watch adds what the launcher itself has to say.
func (r *reporter) watch(e *envoy, s *secrets) {
	r.metrics.CounterFunc("waypoint_envoy_restarts_total", "Times that Envoy ended unexpectedly and was started again.",
		func() float64 { return float64(e.restarts.Load()) })
	r.metrics.GaugeFunc("waypoint_certificate_expiry_seconds", "When the certificate that Envoy has ends, in seconds since 1970; 0 without one.",
		func() float64 { return float64(s.expiry.Load()) })
}

// handler serves our metrics and, on a page of their own for they are many, those of Envoy itself.
func (r *reporter) handler(e *envoy) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r.metrics.Registry(), promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /stats/prometheus", e.stats)
	return mux
}

// register serves access logs. Messages come as they are, for the codec of reporterCodec.
func (r *reporter) register(g *grpc.Server) {
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: accesslogv3.AccessLogService_ServiceDesc.ServiceName, HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "StreamAccessLogs", Handler: r.stream, ClientStreams: true}},
	}, r)
}

// stream is where Envoy's workers send their entries, many in a message.
func (r *reporter) stream(_ any, s grpc.ServerStream) error {
	t := &intake{r: r}
	for {
		f := frame{}
		err := s.RecvMsg(&f)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b := f.data.MaterializeToBuffer(mem.DefaultBufferPool())
		t.take(message(b.ReadOnlyData())) // a copy, of which entries have parts
		b.Free()
		f.data.Free()
	}
}

// intake takes what comes by one stream.
type intake struct {
	r     *reporter
	name  string // of the log
	entry entry
	lines []byte
}

// take reads a StreamAccessLogsMessage.
func (t *intake) take(m message) {
	for {
		num, _, body := m.field()
		switch num {
		case 0:
			t.r.log.write(t.lines)
			t.lines = t.lines[:0]
			return
		case 1: // identifier; comes first, in the first message
			t.identify(body)
		case 2: // http_logs
			for {
				num, _, one := body.field()
				if num == 0 {
					break
				}
				if t.name == translate.LogTCP { // what metrics keep of a connection does not keep the whole message
					one = message(strings.Clone(string(one)))
				}
				t.entry.read(t.name, one)
				t.report(&t.entry)
			}
		}
	}
}

func (t *intake) identify(m message) {
	for {
		switch num, _, body := m.field(); num {
		case 0:
			return
		case 2: // log_name
			t.name = string(body)
		}
	}
}

func (t *intake) report(e *entry) {
	if e.protocol != "tcp" {
		t.r.counts.count(e)
	} else if !t.r.connection(e) {
		return
	}
	t.lines = t.r.log.append(t.lines, e)
}

// connection counts a CONNECT and reports whether it is to be logged. Those to HTTP ports carry requests, which are
// reported one by one; of them only refused tunnels are of interest.
func (r *reporter) connection(e *entry) bool {
	refused := e.code != http.StatusOK
	if e.kind != "tcp" && (e.start || !refused) {
		return false
	}
	if e.start {
		l := e.labels()
		l.Flags = telemetry.FlagNone
		s := r.metrics.Acquire(l)
		s.Opened()
		r.metrics.Release(s)
		return false
	}
	s := r.metrics.Acquire(e.labels())
	if refused {
		s.Opened() // it never reached a destination, so it had no start
	}
	s.Closed()
	s.Sent(e.sent)
	s.Received(e.received)
	r.metrics.Release(s)
	return true
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// reporterCodec leaves messages that are read into frames as they are; others are decoded.
type reporterCodec struct{ encoding.CodecV2 }

func (c reporterCodec) Unmarshal(data mem.BufferSlice, v any) error {
	if _, ok := v.(*frame); ok {
		return rawCodec{}.Unmarshal(data, v)
	}
	return c.CodecV2.Unmarshal(data, v)
}
