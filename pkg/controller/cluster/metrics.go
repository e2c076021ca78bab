package cluster

import "github.com/prometheus/client_golang/prometheus"

// metrics of writing.
type metrics struct {
	leads  prometheus.Gauge
	rounds *prometheus.CounterVec
	writes *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "weft", Subsystem: "controller", Name: name, Help: help}
	}
	m := metrics{
		leads:  prometheus.NewGauge(prometheus.GaugeOpts(opts("leads", "1 while this replica writes to the API server."))),
		rounds: prometheus.NewCounterVec(prometheus.CounterOpts(opts("writer_rounds_total", "Looks at what is to be written, by their end.")), []string{"what", "result"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts(opts("writes_total", "Requests that changed objects of the cluster, or were to.")), []string{"kind"}),
	}
	if reg != nil {
		reg.MustRegister(m.leads, m.rounds, m.writes)
	}
	return m
}

func (m metrics) round(what string, err error) {
	result := "done"
	if err != nil {
		result = "failed"
	}
	m.rounds.WithLabelValues(what, result).Inc()
}
