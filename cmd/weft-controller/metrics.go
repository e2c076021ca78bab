package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds"
)

// metrics of the controller itself; those of discovery are in pkg/xds.
type metrics struct {
	change       prometheus.Histogram
	build        prometheus.Histogram
	compilations *prometheus.CounterVec
	objects      prometheus.Gauge
	faults       prometheus.Gauge
	problems     *prometheus.GaugeVec
	pushes       prometheus.Counter
	certificates *prometheus.CounterVec
	strangers    prometheus.Counter
	filesPending *prometheus.GaugeVec
	fileFailures *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) metrics {
	opts := func(name, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: "weft", Subsystem: "controller", Name: name, Help: help}
	}
	seconds := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: "weft", Subsystem: "controller", Name: name, Help: help,
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts(opts(name, help)), labels)
	}
	gauges := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts(opts(name, help)), labels)
	}
	m := metrics{
		change:       seconds("change_seconds", "From a change of the objects to its publication."),
		build:        seconds("snapshot_build_seconds", "Compiling the objects into a snapshot."),
		compilations: counters("compilations_total", "Compilations: whole, or incremental where only pods had changed, and nothing that concerns more than them.", "way"),
		objects:      prometheus.NewGauge(prometheus.GaugeOpts(opts("objects", "Objects read from all sources."))),
		faults:       prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "weft", Name: "faults_active", Help: "Faults that are in force, on requests or connections."}),
		problems:     gauges("problems", "Problems of files and objects, see /debug/status.", "severity"),
		pushes:       prometheus.NewCounter(prometheus.CounterOpts(opts("waypoint_pushes_total", "Configurations published to waypoints."))),
		certificates: counters("certificates_total", "Requests for certificates by their end; the reason is empty where one was signed.", "result", "reason"),
		strangers:    prometheus.NewCounter(prometheus.CounterOpts(opts("unauthenticated_total", "Calls of discovery and CA without valid credentials."))),
		filesPending: gauges("files_pending", "Files of status and deployments that could not be written yet.", "folder"),
		fileFailures: counters("file_failures_total", "Attempts to write status or deployments that failed.", "folder"),
	}
	reg.MustRegister(m.change, m.build, m.compilations, m.objects, m.faults, m.problems, m.pushes, m.certificates, m.strangers, m.filesPending, m.fileFailures)
	return m
}

func (m metrics) observe(took time.Duration, objects int) {
	m.change.Observe(took.Seconds())
	m.objects.Set(float64(objects))
}

func (m metrics) compiled(took time.Duration, incremental bool) {
	m.build.Observe(took.Seconds())
	way := "whole"
	if incremental {
		way = "incremental"
	}
	m.compilations.WithLabelValues(way).Inc()
}

// found counts what is wrong with objects.
func (m metrics) found(entries []objectReport) {
	count := map[source.Severity]int{source.Error: 0, source.Warning: 0}
	for _, e := range entries {
		for _, p := range e.Problems {
			count[p.Severity]++
		}
	}
	for severity, n := range count {
		m.problems.WithLabelValues(string(severity)).Set(float64(n))
	}
}

// certificate is ca.ServiceOptions.Observe.
func (m metrics) certificate(_ ca.Caller, _ identity.Identity, err error) {
	if err == nil {
		m.certificates.WithLabelValues("signed", "").Inc()
		return
	}
	m.certificates.WithLabelValues("refused", ca.RefusalReason(err)).Inc()
}

// counted is an Authenticator whose refusals are counted.
type counted struct {
	ca.Authenticator
	refused prometheus.Counter
}

func (c counted) Authenticate(ctx context.Context) (ca.Caller, error) {
	caller, err := c.Authenticator.Authenticate(ctx)
	if err != nil {
		c.refused.Inc()
	}
	return caller, err
}

// proxies counts who is connected when it is asked.
type proxies struct{ server *xds.Server }

var connectedProxies = prometheus.NewDesc("weft_controller_connected_proxies", "Proxies that are connected.", []string{"type"}, nil)

func (proxies) Describe(ch chan<- *prometheus.Desc) { ch <- connectedProxies }

func (p proxies) Collect(ch chan<- prometheus.Metric) {
	count := map[string]int{"ztunnel": 0, "waypoint": 0}
	for _, c := range p.server.Clients() {
		kind, _, _ := strings.Cut(c.NodeID, "~")
		if _, known := count[kind]; !known {
			kind = "other"
		}
		count[kind]++
	}
	for kind, n := range count {
		ch <- prometheus.MustNewConstMetric(connectedProxies, prometheus.GaugeValue, float64(n), kind)
	}
}

// logger writes to standard error.
func logger(level, format string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(l)
	cfg.DisableStacktrace = true
	cfg.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	switch format {
	case "json":
	case "text":
		cfg.Encoding = "console"
	default:
		return nil, fmt.Errorf("--log-format %q: want text or json", format)
	}
	return cfg.Build()
}
