package bpf

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestCollector(t *testing.T) {
	l := newLab(t)
	l.open()
	l.enrol(nil, "p1")
	l.dial("r", l.pods["p1"].at(8080, false)) // refused: no ztunnel
	reg := prometheus.NewPedanticRegistry()
	must(t, reg.Register(l.r))
	families, err := reg.Gather()
	must(t, err)
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			key := f.GetName()
			for _, lb := range m.GetLabel() {
				key += " " + lb.GetValue()
			}
			found[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	if found["weft_redirection_pods"] != 1 || found["weft_redirection_events_total refused no_listener"] < 1 {
		t.Errorf("metrics: %v", found)
	}
}
