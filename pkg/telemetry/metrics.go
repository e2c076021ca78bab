package telemetry

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Defaults of Options.
const (
	DefaultPrefix    = "weft_"
	DefaultMaxSeries = 20000
	DefaultIdleAfter = 30 * time.Minute
)

// Options of NewMetrics.
type Options struct {
	// Prefix of every metric name, with its underscore. Empty: weft_.
	Prefix string
	// MaxSeries bounds the distinct label sets of connections. 0: 20000 (about 2 KB each).
	MaxSeries int
	// IdleAfter is how long a label set without connections is still reported. 0: 30 minutes.
	IdleAfter time.Duration
	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

// Metrics of one process. Make one, register what else the process counts with Registry.
type Metrics struct {
	registry *prometheus.Registry
	prefix   string
	table    *seriesTable
	DNS      DNSMetrics
}

// NewMetrics makes the metrics of a process, with those of the Go runtime and of the process.
func NewMetrics(o Options) *Metrics {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.MaxSeries <= 0 {
		o.MaxSeries = DefaultMaxSeries
	}
	if o.IdleAfter <= 0 {
		o.IdleAfter = DefaultIdleAfter
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &Metrics{registry: prometheus.NewRegistry(), prefix: o.Prefix}
	c := newConnCollector(o.Prefix)
	m.table = &seriesTable{byLabels: map[Labels]*Series{}, max: o.MaxSeries, idleAfter: o.IdleAfter, now: o.Now, desc: c.opened}
	c.table = m.table
	m.DNS = newDNSMetrics(m)
	m.registry.MustRegister(c, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.CounterFunc("telemetry_series_overflow_total",
		"Connections counted on an overflow series because the bound on label sets was reached.",
		func() float64 { return float64(m.table.overflows.Load()) })
	m.GaugeFunc("telemetry_series", "Label sets of connections in memory.",
		func() float64 { return float64(len(m.table.all())) })
	return m
}

// OnScrape calls f before connections are gathered, so that whoever counts aside can add what is new.
// Call it before the first scrape.
func (m *Metrics) OnScrape(f func()) { m.table.onScrape = append(m.table.onScrape, f) }

// Acquire returns the series of a label set. Pair it with Release.
func (m *Metrics) Acquire(l Labels) *Series { return m.table.acquire(l) }

// Release says that a connection is done with s.
func (m *Metrics) Release(s *Series) { m.table.release(s) }

// Expire forgets idle series now and returns how many. Run does it on its own.
func (m *Metrics) Expire() int { return m.table.expire() }

// Run expires idle series until ctx ends.
func (m *Metrics) Run(ctx context.Context) {
	t := time.NewTicker(m.table.idleAfter / 4)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.Expire()
		}
	}
}

// Registry is where the metrics of this process are gathered.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Name puts the prefix before a metric name.
func (m *Metrics) Name(s string) string { return m.prefix + s }

// Counter registers a counter.
func (m *Metrics) Counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: m.Name(name), Help: help})
	m.registry.MustRegister(c)
	return c
}

// CounterVec registers a counter with labels, which must have few values.
func (m *Metrics) CounterVec(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name(name), Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

// Gauge registers a gauge.
func (m *Metrics) Gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: m.Name(name), Help: help})
	m.registry.MustRegister(g)
	return g
}

// GaugeFunc registers a gauge that is read when scraped.
func (m *Metrics) GaugeFunc(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: m.Name(name), Help: help}, f))
}

// CounterFunc registers a counter that is read when scraped.
func (m *Metrics) CounterFunc(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: m.Name(name), Help: help}, f))
}
