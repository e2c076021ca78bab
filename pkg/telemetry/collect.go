package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
)

// connCollector turns the table of series into the four counters of connections at scrape time.
type connCollector struct {
	table                          *seriesTable
	opened, closed, sent, received *prometheus.Desc
}

func newConnCollector(prefix string) *connCollector {
	d := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, help, labelNames, nil)
	}
	return &connCollector{
		opened:   d("tcp_connections_opened_total", "TCP connections opened."),
		closed:   d("tcp_connections_closed_total", "TCP connections closed."),
		sent:     d("tcp_sent_bytes_total", "Bytes sent from the source to the destination."),
		received: d("tcp_received_bytes_total", "Bytes that the source received from the destination."),
	}
}

func (c *connCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.opened
	ch <- c.closed
	ch <- c.sent
	ch <- c.received
}

func (c *connCollector) Collect(ch chan<- prometheus.Metric) {
	for _, f := range c.table.onScrape {
		f()
	}
	for _, s := range c.table.all() {
		plain := s.labels.Flags == FlagNone
		for _, m := range [...]seriesMetric{
			{c.opened, s.pairs, s.opened.Load()}, {c.closed, s.pairs, s.closed.Load()},
			{c.sent, s.pairs, s.sent.Load()}, {c.received, s.pairs, s.received.Load()},
		} {
			// Zeros help rate() where counting has begun; on a flagged set they are noise.
			if plain || m.value > 0 {
				ch <- m
			}
		}
	}
}

// seriesMetric is one counter of a series at the moment of a scrape.
type seriesMetric struct {
	desc  *prometheus.Desc
	pairs []*dto.LabelPair
	value uint64
}

func (m seriesMetric) Desc() *prometheus.Desc { return m.desc }

func (m seriesMetric) Write(out *dto.Metric) error {
	out.Label = m.pairs
	out.Counter = &dto.Counter{Value: proto.Float64(float64(m.value))}
	return nil
}
