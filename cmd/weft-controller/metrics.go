package main

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/weftmesh/weft/pkg/source"
)

// metrics of the controller itself.
type metrics struct {
	compile  prometheus.Histogram
	objects  prometheus.Gauge
	problems prometheus.Gauge
	nacks    prometheus.Counter
	pushes   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		compile: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "weft_controller_change_seconds",
			Help: "From a change of the objects to its publication.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 14)}),
		objects:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "weft_controller_objects", Help: "Objects read from all sources."}),
		problems: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weft_controller_problems", Help: "Problems of files and objects, see /debug/status."}),
		nacks:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_controller_nacks_total", Help: "Configuration that proxies refused."}),
		pushes:   prometheus.NewCounter(prometheus.CounterOpts{Name: "weft_controller_waypoint_pushes_total", Help: "Configurations published to waypoints."}),
	}
	reg.MustRegister(m.compile, m.objects, m.problems, m.nacks, m.pushes)
	return m
}

func (m metrics) observe(took time.Duration, objects int, problems []source.Problem) {
	m.compile.Observe(took.Seconds())
	m.objects.Set(float64(objects))
	m.problems.Set(float64(len(problems)))
}

// logger writes to standard error.
func logger(level, format string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, fmt.Errorf("--log-level: %w", err)
	}
	cfg := zap.NewProductionConfig()
	cfg.Level = zap.NewAtomicLevelAt(l)
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
