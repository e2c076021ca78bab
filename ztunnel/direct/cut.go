package direct

import (
	"net/netip"

	"go.uber.org/zap"

	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// Marks of direct connections' sockets: as in bpf/src.
const (
	markClient = 0x53c // set by the connect hook
	markServer = 0x53b // taken over from the packets that came in
)

// proxied ends direct connections that have to take the proxy's path now.
func proxied() *flow.Failure {
	return &flow.Failure{Flag: telemetry.FlagDuration, Cause: "the connection may not go directly any more",
		Hint: "a waypoint, fault, limit or policy was added that a proxy has to see to; a new connection goes that way"}
}

// cut ends the pair's connections at both ends: each end's RST is dropped by its guard. t.mu is held.
func (t *Table) cut(pair kernel.Pair, cause *flow.Failure) {
	t.take() // so that those which have just been opened are told of, with the cause of their end
	for _, c := range t.conns {
		if c.pair == pair {
			c.kill(cause)
		}
	}
	// And those that nobody has told of yet, or that were opened under another ztunnel.
	from, to := t.pods[pair.From], t.pods[pair.To]
	n := 0
	if from != nil {
		n += t.destroy(func() (int, error) {
			return from.Space.DestroyMarked(markClient, func(_, remote netip.AddrPort) bool {
				return pair.Has(remote.Addr()) && uint32(remote.Port()) == pair.Port && t.addressOf(remote.Addr(), pair.To)
			})
		})
	}
	if to != nil {
		n += t.destroy(func() (int, error) {
			return to.Space.DestroyMarked(markServer, func(local, remote netip.AddrPort) bool {
				return pair.Has(local.Addr()) && uint32(local.Port()) == pair.Port && t.addressOf(remote.Addr(), pair.From)
			})
		})
	}
	if n > 0 {
		t.o.Log.Debug("direct connections cut", zap.Int("sockets", n), zap.String("cause", cause.Cause))
	}
}

// addressOf reports that a pod has an address, in the kernel or in the mesh's eyes. t.mu is held.
func (t *Table) addressOf(a netip.Addr, ns uint64) bool {
	if at, ok := t.kernel.At(a); ok {
		return at == ns
	}
	w := t.o.State.ByAddress(a)
	p := t.pods[ns]
	return w == nil || p == nil || w.Namespace == p.Namespace && w.Name == p.Name
}

func (t *Table) destroy(f func() (int, error)) int {
	n, err := f()
	if err != nil {
		t.o.Log.Debug("end direct connections", zap.Error(err)) // the namespace may be gone; packets are dropped anyway
	}
	return n
}
