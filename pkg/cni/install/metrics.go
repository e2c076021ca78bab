package install

import (
	"errors"
	"io/fs"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"
)

// Metrics of the installer.
type Metrics struct {
	ready    prometheus.Gauge
	changes  *prometheus.CounterVec
	failures *prometheus.CounterVec
}

// NewMetrics registers them; with nil they count for nobody.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		ready: prometheus.NewGauge(prometheus.GaugeOpts{Name: "weft_cni_installed",
			Help: "1 while the plugin is in the CNI configuration that this node's container runtime uses."}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_cni_changes_total",
			Help: "Files that were written: conf (the node's CNI configuration), plugin (the binary)."}, []string{"file"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weft_cni_failures_total",
			Help: "Rounds that ended with the plugin not in place, by cause: none (no configuration yet), malformed, busy, full_disk, permission, io."},
			[]string{"cause"}),
	}
	if reg != nil {
		reg.MustRegister(m.ready, m.changes, m.failures)
	}
	return m
}

// round counts how a round ended.
func (m *Metrics) round(err error) {
	if err == nil {
		m.ready.Set(1)
		return
	}
	m.ready.Set(0)
	m.failures.WithLabelValues(cause(err)).Inc()
}

func cause(err error) string {
	switch {
	case errors.Is(err, errMalformed):
		return "malformed"
	case errors.Is(err, ErrNone):
		return "none"
	case errors.Is(err, errBusy):
		return "busy"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return "full_disk"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
		return "permission"
	}
	return "io"
}
