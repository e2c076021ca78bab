package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

func labels(dst string) Labels {
	return Labels{
		Reporter: ReporterSource, Source: Peer{Workload: "frontend", Namespace: "shop", Principal: "spiffe://cluster.local/ns/shop/sa/frontend", App: "frontend", Version: "v1"},
		Destination: Peer{Workload: dst, Namespace: "shop"}, Service: "cart.shop.svc.cluster.local", ServiceName: "cart", ServiceNamespace: "shop",
		Security: SecurityMutualTLS, Flags: FlagNone,
	}
}

func gather(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*dto.MetricFamily{}
	for _, f := range families {
		out[f.GetName()] = f
	}
	return out
}

func value(m *dto.Metric, label string) string {
	for _, l := range m.GetLabel() {
		if l.GetName() == label {
			return l.GetValue()
		}
	}
	return ""
}

func TestConnectionCounters(t *testing.T) {
	m := NewMetrics(Options{})
	s := m.Acquire(labels("cart"))
	s.Opened()
	s.Sent(100)
	m.OnScrape(func() { s.Received(7) })
	got := gather(t, m)
	for name, want := range map[string]float64{
		"weft_tcp_connections_opened_total": 1, "weft_tcp_connections_closed_total": 0,
		"weft_tcp_sent_bytes_total": 100, "weft_tcp_received_bytes_total": 7,
	} {
		f := got[name]
		if f == nil || len(f.GetMetric()) != 1 {
			t.Fatalf("%s: %v", name, f)
		}
		x := f.GetMetric()[0]
		if x.GetCounter().GetValue() != want {
			t.Errorf("%s = %v, want %v", name, x.GetCounter().GetValue(), want)
		}
		for label, want := range map[string]string{
			"reporter": "source", "source_workload": "frontend", "source_principal": "spiffe://cluster.local/ns/shop/sa/frontend",
			"destination_workload": "cart", "destination_service_name": "cart", "destination_principal": "unknown",
			"connection_security_policy": "mutual_tls", "response_flags": "-", "request_protocol": "tcp",
		} {
			if v := value(x, label); v != want {
				t.Errorf("%s{%s=%q}, want %q", name, label, v, want)
			}
		}
	}
}

func TestPrefix(t *testing.T) {
	m := NewMetrics(Options{Prefix: "istio_"})
	m.Acquire(labels("cart")).Opened()
	if gather(t, m)["istio_tcp_connections_opened_total"] == nil {
		t.Error("prefix not taken")
	}
}

func TestSeriesAreBounded(t *testing.T) {
	m := NewMetrics(Options{MaxSeries: 10})
	for i := range 1000 {
		s := m.Acquire(labels(fmt.Sprint("w", i)))
		s.Opened()
		m.Release(s)
	}
	f := gather(t, m)["weft_tcp_connections_opened_total"]
	if n := len(f.GetMetric()); n != 11 {
		t.Errorf("%d series, want 10 and one overflow", n)
	}
	total := 0.0
	for _, x := range f.GetMetric() {
		total += x.GetCounter().GetValue()
		if value(x, "source_workload") == "overflow" && value(x, "connection_security_policy") != "mutual_tls" {
			t.Error("overflow lost the security label")
		}
	}
	if total != 1000 {
		t.Errorf("%v connections counted, want all 1000", total)
	}
}

func TestIdleSeriesExpire(t *testing.T) {
	now := time.Unix(1000, 0)
	m := NewMetrics(Options{IdleAfter: time.Minute, Now: func() time.Time { return now }})
	held, idle := m.Acquire(labels("held")), m.Acquire(labels("idle"))
	m.Release(idle)
	now = now.Add(59 * time.Second)
	if n := m.Expire(); n != 0 {
		t.Errorf("%d expired early", n)
	}
	now = now.Add(2 * time.Second)
	if n := m.Expire(); n != 1 {
		t.Errorf("%d expired, want 1", n)
	}
	if m.Acquire(labels("held")) != held {
		t.Error("a held series was forgotten")
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	m := NewMetrics(Options{})
	l := labels("cart")
	m.Acquire(l)
	b.ReportAllocs()
	for b.Loop() {
		m.Release(m.Acquire(l))
	}
}

func TestLabelOrder(t *testing.T) {
	if n, v := len(labelNames), len(labels("x").values()); n != v {
		t.Fatalf("%d names, %d values", n, v)
	}
	l := Labels{Destination: Peer{Cluster: "c"}, Source: Peer{Cluster: "s"}}
	v := l.normal().values()
	for i, name := range labelNames {
		if name == "destination_cluster" && v[i] != "c" || name == "source_cluster" && v[i] != "s" {
			t.Errorf("%s = %s", name, v[i])
		}
	}
	if strings.Contains(strings.Join(v, ""), "mutual") {
		t.Error("mutual_tls without proof")
	}
}

// Sets that differ only in how they say "not known" must not become two series of one name.
func TestSetsThatLookAlikeAreOne(t *testing.T) {
	m := NewMetrics(Options{})
	for _, l := range []Labels{{}, {Flags: FlagNone}, {Security: SecurityNone, Protocol: "tcp"}, {Source: Peer{Workload: "unknown"}, Service: "unknown"}} {
		m.Acquire(l).Opened()
	}
	f := gather(t, m)["weft_tcp_connections_opened_total"]
	if len(f.GetMetric()) != 1 || f.GetMetric()[0].GetCounter().GetValue() != 4 {
		t.Errorf("%v", f)
	}
}

// Dashboards made for other ambient meshes ask for these labels, of TCP metrics, and no others.
func TestLabelsAreTheFieldsOwn(t *testing.T) {
	want := strings.Fields(`reporter
		source_workload source_workload_namespace source_principal source_app source_version source_cluster
		source_canonical_service source_canonical_revision
		destination_workload destination_workload_namespace destination_principal destination_app destination_version destination_cluster
		destination_canonical_service destination_canonical_revision
		destination_service destination_service_name destination_service_namespace
		request_protocol response_flags connection_security_policy`)
	m := NewMetrics(Options{})
	m.Acquire(labels("cart")).Opened()
	var got []string
	for _, l := range gather(t, m)["weft_tcp_connections_opened_total"].GetMetric()[0].GetLabel() {
		got = append(got, l.GetName())
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}
