package xds

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// serverMetrics count what the server does.
type serverMetrics struct {
	connected prometheus.Gauge
	responses *prometheus.CounterVec
	resources *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	nacks     *prometheus.CounterVec
}

func newServerMetrics(r prometheus.Registerer) (*serverMetrics, error) {
	counter := func(name, help string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "weft", Subsystem: "xds", Name: name, Help: help}, []string{"type"})
	}
	m := &serverMetrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "weft", Subsystem: "xds", Name: "connected_clients", Help: "Open discovery streams."}),
		responses: counter("responses_total", "Discovery responses sent."),
		resources: counter("resources_sent_total", "Resources in the discovery responses sent."),
		bytes:     counter("response_bytes_total", "Encoded size of the discovery responses sent."),
		nacks:     counter("nacks_total", "Discovery responses that clients refused."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connected, m.responses, m.resources, m.bytes, m.nacks} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// shortType is the message's name: the label values stay few and short.
func shortType(typeURL string) string {
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:]
}
