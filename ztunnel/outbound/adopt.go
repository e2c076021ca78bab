package outbound

import (
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/balance"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// Adopt takes charge of a connection that another process has carried: it counts against what limits its like now,
// without being refused, and ends when it is idle for longer than allowed now. done is for the tunnel to call at its
// end, and calls over.
func (h *Handler) Adopt(f *flow.Flow, over func()) (done func(error)) {
	t := &tries{Mesh: h.o.Mesh, moving: true, over: over}
	s, how := h.carriage(f)
	if how.Connections() > 0 {
		leave, _ := h.o.Pod.State.Enter(balance.PortOf(s, how), 0)
		t.atEnd(leave)
	}
	if w := h.o.Pod.State.ByUID(f.Carrier); w != nil {
		end, _ := h.o.Pod.State.Carry(w, 0)
		t.atEnd(end)
	}
	if how != nil && how.Idle > 0 {
		t.atEnd(watchIdle(f, how.Idle))
	}
	return t.whenOver(f)
}

// carriage is how connections to what the client dialled are carried; nil: nothing is said.
func (h *Handler) carriage(f *flow.Flow) (*model.Service, *model.Carriage) {
	s := h.o.Mesh.ServiceByVIP(f.Host.Addr())
	if s == nil || f.Via != "" {
		return nil, nil
	}
	return s, s.Carried(f.Host.Port())
}
