package telemetry

import "github.com/prometheus/client_golang/prometheus"

// DNSMetrics counts the questions that a proxy was asked.
type DNSMetrics struct {
	// Requests by who answered (mesh, upstream, none) and response code.
	Requests *prometheus.CounterVec
	// Upstream counts questions that were forwarded.
	Upstream prometheus.Counter
	// UpstreamFailures counts forwarded questions without an answer.
	UpstreamFailures prometheus.Counter
	// UpstreamSeconds is how long upstream answers took.
	UpstreamSeconds prometheus.Histogram
}

func newDNSMetrics(m *Metrics) DNSMetrics {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: m.Name("dns_upstream_request_duration_seconds"), Help: "Time until an upstream name server answered.",
		Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5},
	})
	m.registry.MustRegister(h)
	return DNSMetrics{
		Requests:         m.CounterVec("dns_requests_total", "DNS questions by who answered and response code.", "answered_by", "rcode"),
		Upstream:         m.Counter("dns_upstream_requests_total", "DNS questions forwarded to an upstream name server."),
		UpstreamFailures: m.Counter("dns_upstream_failures_total", "Forwarded DNS questions that got no answer."),
		UpstreamSeconds:  h,
	}
}
