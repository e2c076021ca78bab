package main

import (
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/memory"
)

// budget is what --memory-limit says, else the limit of the control group.
func (c config) budget(m *telemetry.Metrics, log *zap.Logger) *memory.Budget {
	o := memory.Options{Limit: c.memoryLimit, Metrics: m, Log: log}
	group, err := memory.OwnCgroup()
	if err == nil {
		o.Kernel = group.Kernel
		if o.Limit == 0 {
			o.Limit = group.Limit()
		}
	} else if o.Limit == 0 {
		log.Warn("no memory limit is known: nothing is refused when memory runs out", zap.Error(err))
	}
	b := memory.New(o)
	b.Collector()
	return b
}
