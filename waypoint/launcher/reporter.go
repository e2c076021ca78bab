package launcher

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weftmesh/weft/pkg/telemetry"
)

// reporterWaypoint is this proxy in the label reporter.
const reporterWaypoint telemetry.Reporter = "waypoint"

// maxSeries bounds the label sets of requests: a caller who can make up labels (the status, the flags) must
// not be able to fill the memory.
const maxSeries = 20_000

var requestLabels = []string{
	"reporter",
	"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version", "source_cluster",
	"destination_workload", "destination_workload_namespace", "destination_principal",
	"destination_service", "destination_service_name", "destination_service_namespace",
	"request_protocol", "response_code", "grpc_response_status", "response_flags", "connection_security_policy",
}

// reporter receives Envoy's access logs and turns them into metrics and lines.
type reporter struct {
	metrics  *telemetry.Metrics
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	log      *lineLog

	mu   sync.Mutex // protects seen
	seen map[string]struct{}
}

func newReporter(o Options) *reporter {
	r := &reporter{
		metrics: telemetry.NewMetrics(telemetry.Options{Prefix: o.MetricPrefix}),
		log:     newLineLog(o.Out, o.AccessLog),
		seen:    map[string]struct{}{},
	}
	r.requests = r.metrics.CounterVec("requests_total", "Requests that the waypoint answered.", requestLabels...)
	r.duration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    r.metrics.Name("request_duration_milliseconds"),
		Help:    "Time from the first byte of a request to the last of its response.",
		Buckets: []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000},
	}, requestLabels)
	r.metrics.Registry().MustRegister(r.duration)
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
	labels := r.bound(e.requestLabels())
	r.requests.WithLabelValues(labels...).Inc()
	r.duration.WithLabelValues(labels...).Observe(float64(e.duration.Microseconds()) / 1000)
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

func (e *entry) requestLabels() []string {
	code := strconv.FormatUint(uint64(e.code), 10)
	name, _, _ := strings.Cut(e.service, ".")
	return []string{
		string(reporterWaypoint),
		known(e.source.Workload), known(e.source.Namespace), known(e.source.Principal), known(e.source.App), known(e.source.Version), known(e.source.Cluster),
		known(e.dest.Workload), known(e.dest.Namespace), known(e.dest.Principal),
		known(e.service), known(name), known(e.serviceNS),
		e.protocol, code, e.grpc, e.flags, string(telemetry.SecurityMutualTLS),
	}
}

// bound keeps the number of label sets in check: what comes after the bound is counted, but not told apart.
func (r *reporter) bound(labels []string) []string {
	key := strings.Join(labels, "\x00")
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.seen[key]; ok {
		return labels
	}
	if len(r.seen) < maxSeries {
		r.seen[key] = struct{}{}
		return labels
	}
	out := make([]string, len(labels))
	for i := range out {
		out[i] = "overflow"
	}
	out[0] = labels[0]
	return out
}

func known(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

var _ accesslogv3.AccessLogServiceServer = (*reporter)(nil)
