package outbound

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/balance"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/relay"
)

func nothing() {}

// full is the refusal of a connection that a limit of a TrafficPolicy leaves no room for.
func full(s *model.Service, cause, field string) *flow.Failure {
	return &flow.Failure{Flag: telemetry.FlagOverload, Cause: "service " + s.Hostname + " is full: " + cause + " from this node",
		Hint: "that is the limit of a TrafficPolicy (connectionLimits." + field + "): raise it, add pods, or see who holds connections in /connections"}
}

// enter counts the connection against the service's limit. leave is to be called when it is over.
func (h *Handler) enter(r Route) (leave func(), failure *flow.Failure) {
	limit := r.Carriage.Connections()
	if limit == 0 || r.Kind == Refuse {
		return nothing, nil
	}
	leave, ok := h.o.Pod.State.Enter(balance.PortOf(r.Service, r.Carriage), limit)
	if !ok {
		return nil, full(r.Service, fmt.Sprintf("it has %d connections", limit), "maxConnections")
	}
	return leave, nil
}

// judge reports an endpoint that could not be connected to. What a policy refuses is no illness, and neither is
// what the client gave up.
func (h *Handler) judge(ctx context.Context, f *flow.Flow, r Route, failure *flow.Failure) {
	if r.Carriage == nil || r.Carriage.Outliers == nil || r.Dest == nil || f.IsEstablished() ||
		failure == nil || failure.Flag != telemetry.FlagConnectFailure || ctx.Err() != nil {
		return
	}
	healthy := 0
	for _, w := range h.o.Mesh.Endpoints(r.Service.Key()) {
		if !w.Unhealthy || r.Service.PublishNotReady {
			healthy++
		}
	}
	d := h.o.Pod.State.Report(r.Service, r.Dest, r.Carriage.Outliers, healthy, false)
	if d == 0 {
		return
	}
	if h.o.Ejections != nil {
		h.o.Ejections.WithLabelValues(r.Service.Hostname).Inc()
	}
	h.o.Log.Info("endpoint ejected: it could not be connected to", zap.String("service", r.Service.Hostname),
		zap.String("workload", r.Dest.Namespace+"/"+r.Dest.Name), zap.Duration("for", d), zap.Error(failure))
}

// attend does what a connection that was made needs: its endpoint is well, its sockets are looked after, and it ends
// when nothing has moved for too long. r says how it is carried. The function it returns ends the watch.
func (h *Handler) attend(f *flow.Flow, r Route, sockets ...relay.Conn) (end func()) {
	how := r.Carriage
	if how.Outliers != nil && r.Dest != nil {
		h.o.Pod.State.Report(r.Service, r.Dest, how.Outliers, 0, true)
	}
	for _, c := range sockets {
		relay.KeepAlive(c, how.Keepalive)
	}
	if how.Idle <= 0 {
		return nothing
	}
	return watchIdle(f, how.Idle)
}

// watchIdle cuts f when nothing has moved for so long. It looks once in that time, and so may take twice as long.
func watchIdle(f *flow.Flow, limit time.Duration) (end func()) {
	moved := func() uint64 { return f.Sent.Load() + f.Received.Load() }
	last := moved()
	var timer atomic.Pointer[time.Timer]
	t := time.AfterFunc(time.Hour, func() {
		now := moved()
		if now == last {
			f.Kill(&flow.Failure{Flag: telemetry.FlagIdle, Cause: fmt.Sprintf("nothing moved for %v", limit),
				Hint: "that is the limit of a TrafficPolicy (timeouts.idle)"})
			return
		}
		last = now
		if t := timer.Load(); t != nil {
			t.Reset(limit)
		}
	})
	timer.Store(t)
	t.Reset(limit)
	return func() { t.Stop() }
}
