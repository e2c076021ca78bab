package outbound

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/fault"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// harm asks which Fault of the service acts on a connection, waits as long as it delays, and refuses if it does.
func (h *Handler) harm(ctx context.Context, f *flow.Flow, r Route) (fault.Plan, *flow.Failure) {
	if r.Kind == Refuse || r.Faults == nil {
		return fault.Plan{}, nil
	}
	p := fault.Choose(r.Faults, h.o.Pod.Identity, time.Now(), rand.Float64)
	if !p.Acts() {
		return p, nil
	}
	f.Fault = p.String()
	if h.o.Faults != nil {
		for _, kind := range p.Kinds() {
			h.o.Faults.WithLabelValues(p.Fault.Name, kind).Inc()
		}
	}
	if p.Delay > 0 {
		t := time.NewTimer(p.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return p, flow.Injected(p.Fault.Name, "cut while it was delayed")
		}
	}
	if p.Refuse {
		return p, flow.Injected(p.Fault.Name, "refused")
	}
	return p, nil
}

// paced moves the bytes of a connection that a Fault slows down or cuts short. What has begun ends early when the
// Fault expires or is taken away.
func (h *Handler) paced(f *flow.Flow, c relay.Conn, server relay.Duplex, r Route, p fault.Plan) *flow.Failure {
	pace := relay.Pace{Budget: -1, Rate: p.Bandwidth, Lifted: func() bool { return !h.lives(r.Service, p.Fault) }}
	if p.Reset {
		pace.Budget = int64(min(p.Fault.ResetAfter, math.MaxInt64))
	}
	err := relay.Paced(c, server, pace, &f.Sent, &f.Received)
	if errors.Is(err, relay.ErrBudget) {
		return flow.Injected(p.Fault.Name, fmt.Sprintf("reset after %d bytes", p.Fault.ResetAfter))
	}
	return flow.Broken(err)
}

// lives reports that a fault is in force still.
func (h *Handler) lives(s *model.Service, of *model.ConnFault) bool {
	if !of.Until.IsZero() && !time.Now().Before(of.Until) {
		return false
	}
	now := h.o.Mesh.ServiceByHostname(s.Hostname)
	return now == s || now != nil && slices.ContainsFunc(now.Faults, func(x model.ConnFault) bool { return x.Name == of.Name })
}
