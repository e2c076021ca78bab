package direct

import (
	"net/netip"
	"slices"

	"go.uber.org/zap"

	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/outbound"
	"github.com/weftmesh/weft/ztunnel/pod"
)

// published is a service that the kernel draws endpoints of, for one pod.
type published struct {
	of    int // all endpoints that it spreads connections over
	here  []netip.AddrPort
	drawn []*model.Workload // those here
}

// publish makes it true for a service what the kernel draws from: each of its endpoints on this node that may be talked
// to directly, with the weight that it has among all of them. t.mu is held, and there is a kernel.
func (t *Table) publish(v kernel.VIP) {
	p := t.spread(v)
	old, known := t.vips[v]
	switch {
	case len(p.here) == 0:
		if known {
			t.unpublish(v)
		}
		return
	case known && old.of == p.of && slices.Equal(old.here, p.here):
		t.vips[v] = p // workloads may be of another version
		return
	}
	if err := t.kernel.Publish(v, p.of, p.here); err != nil {
		t.refused(err)
		if known {
			t.unpublish(v)
		}
		return
	}
	t.vips[v] = p
}

func (t *Table) unpublish(v kernel.VIP) {
	if t.kernel == nil {
		return
	}
	if err := t.kernel.Unpublish(v); err != nil {
		// Harmless but for the balance: endpoints to which no way is open are not taken.
		t.o.Log.Warn("direct path", zap.Error(err))
	}
	delete(t.vips, v)
}

// spread finds the endpoints that may be drawn, and opens the ways to them. t.mu is held.
func (t *Table) spread(v kernel.VIP) (p published) {
	from := t.pods[v.From]
	if from == nil {
		return p
	}
	fw := t.o.State.PodByKey(from.Key())
	if fw == nil {
		return p
	}
	ends := outbound.Spread(t.o.State, fw, v.Dialled())
	p.of = len(ends)
	for _, e := range ends {
		if e.Workload.Node != fw.Node || len(p.here) == kernel.MostEndpoints || e.At.Addr().Is4() != v.Dialled().Addr().Is4() {
			continue
		}
		ns, ok := t.kernel.At(e.At.Addr())
		if ok && t.permit(kernel.PairOf(v.From, ns, e.At)) {
			p.here, p.drawn = append(p.here, e.At), append(p.drawn, e.Workload)
		}
	}
	return p
}

// Drawn implements outbound.Direct.
func (t *Table) Drawn(from *pod.Pod, dialled netip.AddrPort) []*model.Workload {
	if from.Space == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.vips[kernel.VIPOf(from.Space.Cookie(), dialled)]
	if len(p.drawn) == p.of {
		return nil // none is the proxy's: this one came for another reason
	}
	return p.drawn
}
