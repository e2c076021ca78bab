package launcher

import (
	"errors"
	"io"
	"net/http"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftmesh/weft/pkg/telemetry"
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

func (r *reporter) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r.metrics.Registry(), promhttp.HandlerOpts{}))
	return mux
}

// StreamAccessLogs is where Envoy's workers send their entries.
func (r *reporter) StreamAccessLogs(s accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	name := ""
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if id := m.GetIdentifier(); id != nil {
			name = id.GetLogName()
		}
		for _, h := range m.GetHttpLogs().GetLogEntry() {
			r.report(newEntry(name, h))
		}
	}
}

func (r *reporter) report(e *entry) {
	if e.protocol == "tcp" {
		r.connection(e)
		return
	}
	r.counts.count(e)
	r.log.write(e)
}

// connection reports a CONNECT. Those to HTTP ports carry requests, which are reported one by one; of them
// only refused tunnels are of interest.
func (r *reporter) connection(e *entry) {
	refused := e.code != http.StatusOK
	if e.kind != "tcp" && (e.start || !refused) {
		return
	}
	if e.start {
		l := e.labels()
		l.Flags = telemetry.FlagNone
		s := r.metrics.Acquire(l)
		s.Opened()
		r.metrics.Release(s)
		return
	}
	s := r.metrics.Acquire(e.labels())
	if refused {
		s.Opened() // it never reached a destination, so it had no start
	}
	s.Closed()
	s.Sent(e.sent)
	s.Received(e.received)
	r.metrics.Release(s)
	r.log.write(e)
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

var _ accesslogv3.AccessLogServiceServer = (*reporter)(nil)
