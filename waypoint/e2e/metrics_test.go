package e2e

import (
	"fmt"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// How a request is counted is in Envoy's log of it, with the values of its headers, also where it was refused; and
// no listener changes for it.
func TestMetricLabels(t *testing.T) {
	m := newMesh(t)
	m.telemetry("cart", model.Target{Service: key}, &model.Telemetry{Metrics: &model.Metrics{
		MaxValues: 10, Labels: []model.MetricLabel{{Name: "tenant", Header: "X-Tenant"}, {Name: "tier", Literal: "gold"}},
	}})
	m.envoy.Sent()
	m.publish()
	m.eventually("the log has labels", func() error {
		if _, _, _, err := ask(m.http, "GET", "/labels", "x-tenant", `acme "1"`); err != nil {
			return err
		}
		for _, l := range m.envoy.Logs() {
			for _, e := range l.GetHttpLogs().GetLogEntry() {
				if e.GetRequest().GetPath() == "/labels" && field(e, translate.FieldLabels) == `{"tenant":"acme \"1\""}` && field(e, translate.FieldMetrics) != "-" {
					return nil
				}
			}
		}
		return fmt.Errorf("not yet")
	})
	sent, _ := m.envoy.Sent()
	for _, n := range sent {
		if n == "http" || n == "auto" || n == "hbone" {
			t.Errorf("%s was sent again", n)
		}
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}
