// Package memory keeps a ztunnel within the memory that it is given, by refusing what is new before the kernel kills
// what is there.
//
// The limit is that of the process's control group, or a flag's. Go's collector is told to keep below nine tenths of
// it, which costs more CPU the nearer it gets. When what is in use, and no garbage, reaches three quarters, new
// connections are refused, with words in the access log, a counter and a line in the log; when it is
// below two thirds again they are taken. Connections that live are not touched.
//
// What a burst leaves behind is collected and given back to the machine as soon as it is quiet.
package memory

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// Shares of the limit.
const (
	collectAt = 0.9
	refuseAt  = 0.75
	takeAt    = 0.65
)

// lookEvery is how often use is looked at: some thousand connections may come in between.
const lookEvery = 100 * time.Millisecond

// Options of New.
type Options struct {
	// Limit in bytes; 0: none, and nothing is ever refused.
	Limit int64
	// Use is what is in use, in bytes, without garbage. nil: that of this process, with the kernel's if Kernel says.
	Use func() int64
	// Kernel is what the kernel holds for the process, see Cgroup.Kernel. nil: nobody knows.
	Kernel func() int64
	// Metrics get the gauges and the counter. nil: none.
	Metrics *telemetry.Metrics
	// Log; nil: none.
	Log *zap.Logger
}

// Budget decides whether there is room for one more. A nil one always has.
type Budget struct {
	o        Options
	collects bool // Run says how much garbage there may be
	full     atomic.Bool
	used     atomic.Int64
	refused  atomic.Int64
}

// New makes a budget; Run watches it.
func New(o Options) *Budget {
	if o.Use == nil {
		o.Use = func() int64 { return inUse(o.Kernel) }
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	b := &Budget{o: o}
	if o.Metrics != nil {
		o.Metrics.GaugeFunc("memory_limit_bytes", "Memory that this ztunnel may have; 0: no limit is known.", func() float64 { return float64(o.Limit) })
		o.Metrics.GaugeFunc("memory_used_bytes", "Memory in use, without garbage, with what the kernel holds for it.", func() float64 { return float64(b.used.Load()) })
		o.Metrics.CounterFunc("connections_refused_memory_total", "Connections refused because memory was nearly used up.", func() float64 { return float64(b.refused.Load()) })
	}
	return b
}

// Collector has Go's collector keep below the limit, unless GOMEMLIMIT says something else, and has Run keep garbage
// small, unless GOGC does.
func (b *Budget) Collector() {
	b.collects = os.Getenv("GOGC") == ""
	if b.o.Limit > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(float64(b.o.Limit) * collectAt))
	}
}

// Run looks at what is in use until ctx ends, and gives back what is not.
func (b *Budget) Run(ctx context.Context) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	q := quiet{share: 100}
	for {
		b.look()
		if b.collects {
			q.tidy()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (b *Budget) look() {
	used := b.o.Use()
	b.used.Store(used)
	if b.o.Limit <= 0 {
		return
	}
	share := float64(used) / float64(b.o.Limit)
	switch full := b.full.Load(); {
	case !full && share >= refuseAt:
		b.full.Store(true)
		b.o.Log.Warn("memory is nearly used up: new connections are refused until there is room; raise ztunnel's memory limit, or see who holds connections in /connections",
			zap.Int64("used", used), zap.Int64("limit", b.o.Limit))
	case full && share < takeAt:
		b.full.Store(false)
		b.o.Log.Info("there is memory again: new connections are taken", zap.Int64("used", used), zap.Int64("limit", b.o.Limit), zap.Int64("refused", b.refused.Load()))
	}
}

// Refusal is why a new connection cannot be had, nil when it can.
func (b *Budget) Refusal() *flow.Failure {
	if b == nil || !b.full.Load() {
		return nil
	}
	b.refused.Add(1)
	return &flow.Failure{Flag: telemetry.FlagOverload,
		Cause: fmt.Sprintf("ztunnel's memory is nearly used up: %d of %d MiB", b.used.Load()>>20, b.o.Limit>>20),
		Hint:  "raise the memory limit of ztunnel on this node, or see who holds connections in /connections"}
}

// inUse is what this process needs now: what the last collection found alive, stacks, and what the runtime keeps books in.
func inUse(kernel func() int64) int64 {
	s := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}, {Name: "/memory/classes/os-stacks:bytes"}, {Name: "/memory/classes/other:bytes"},
		{Name: "/memory/classes/metadata/mspan/inuse:bytes"}, {Name: "/memory/classes/metadata/other:bytes"}, {Name: "/memory/classes/profiling/buckets:bytes"},
	}
	metrics.Read(s)
	var sum uint64
	for _, v := range s {
		if v.Value.Kind() == metrics.KindUint64 {
			sum += v.Value.Uint64()
		}
	}
	if kernel != nil {
		sum += uint64(max(0, kernel()))
	}
	return int64(min(sum, math.MaxInt64))
}
