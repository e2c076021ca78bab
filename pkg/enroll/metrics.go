package enroll

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics of a Reconciler.
type Metrics struct {
	pods     *prometheus.GaugeVec
	ztunnels prometheus.Gauge
	connects prometheus.Counter
	handed   prometheus.Counter
	failures prometheus.Counter
	seconds  prometheus.Histogram
}

// NewMetrics registers them; with nil they count for nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		pods: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "weft_agent_pods",
			Help: "Pods of this node by state: enrolled, pending (wanted, not captured yet), leaving, ignored (not the mesh's)."}, []string{"state"}),
		ztunnels: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weft_agent_ztunnels_connected", Help: "Ztunnels that are connected now."}),
		connects: prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_agent_ztunnel_connections_total", Help: "Connections that ztunnels made."}),
		handed: prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_agent_listeners_set_total",
			Help: "Times that a pod's traffic was given to a ztunnel's listeners."}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_agent_enrolment_failures_total",
			Help: "Attempts to take a pod into the mesh or out of it that failed and were repeated."}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weft_agent_enrolment_seconds",
			Help:    "Time from the wish to the announcement.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}}),
	}
	if reg != nil {
		reg.MustRegister(m.pods, m.ztunnels, m.connects, m.handed, m.failures, m.seconds)
	}
	return m
}

func (m *Metrics) connected(n float64) {
	m.ztunnels.Add(n)
	if n > 0 {
		m.connects.Inc()
	}
}

func (m *Metrics) served()                  { m.handed.Inc() }
func (m *Metrics) failed()                  { m.failures.Inc() }
func (m *Metrics) enrolled(d time.Duration) { m.seconds.Observe(d.Seconds()) }

// count sets the gauge. r.mu is held.
func (r *Reconciler) count() {
	n := map[string]int{StateEnrolled: 0, StatePending: 0, StateLeaving: 0}
	for _, e := range r.entries {
		n[e.state()]++
	}
	n[StateIgnored] = len(r.left)
	for state, v := range n {
		r.o.Metrics.pods.WithLabelValues(state).Set(float64(v))
	}
}
