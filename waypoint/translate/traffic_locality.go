package translate

import (
	"cmp"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// groups sorts a service's endpoints: by how near they are, and where a policy divides among zones, by zone.
type groups struct {
	b      *builder
	s      *model.Service
	p      *model.LocalityPolicy // nil: what the service says of itself
	shares map[string]uint32     // percent by zone; nil: not divided
	by     map[place][]*endpointv3.LbEndpoint
}

// place is one group: of several, the one with the least rank is used as long as it is well.
type place struct {
	rank int
	zone string // "" where nothing is divided
}

func (b *builder) groups(s *model.Service, p *model.TrafficPolicy) *groups {
	g := &groups{b: b, s: s, p: p.Locality, by: map[place][]*endpointv3.LbEndpoint{}}
	if g.p != nil && len(g.p.Distribute) > 0 {
		at := ""
		if b.near.at != nil {
			at = b.near.at.Locality.Zone
		}
		g.shares = g.p.Distribute[at]
		if g.shares == nil {
			g.shares = g.p.Distribute["*"]
		}
	}
	return g
}

// listsUnready reports whether Envoy has to know of endpoints that are not ready: to see how much of a place
// is well, or to use them when too few are.
func listsUnready(p *model.TrafficPolicy) bool {
	return p.Locality != nil || p.Balance != nil && p.Balance.Panic > 0
}

// add puts an endpoint where it belongs; one that a strict service does not use is dropped.
func (g *groups) add(w *model.Workload, e *endpointv3.LbEndpoint) {
	at := place{}
	switch {
	case g.shares != nil:
		at.zone = w.Locality.Zone
		if g.shares[at.zone] == 0 {
			at = place{rank: 1} // nobody's share: for when all others fail
		}
	case g.p != nil:
		at.rank = g.rank(w)
	default:
		rank, ok := g.b.rank(g.s, w)
		if !ok {
			return
		}
		at.rank = rank
	}
	g.by[at] = append(g.by[at], e)
}

// rank is how near a workload is, and of equally near ones, when its zone's turn comes.
func (g *groups) rank(w *model.Workload) int {
	preferring := &model.Service{Preference: g.p.Prefer}
	rank, _ := g.b.rank(preferring, w)
	turn := slices.Index(g.p.Failover, w.Locality.Zone)
	if turn < 0 {
		turn = len(g.p.Failover)
	}
	return rank*(len(g.p.Failover)+1) + turn
}

// list is what Envoy reads: priorities without gaps, nearest first.
func (g *groups) list() []*endpointv3.LocalityLbEndpoints {
	places := make([]place, 0, len(g.by))
	for p := range g.by {
		places = append(places, p)
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(a.rank-b.rank, cmp.Compare(a.zone, b.zone)) })
	var out []*endpointv3.LocalityLbEndpoints
	priority := uint32(0)
	for i, p := range places {
		if i > 0 && p.rank != places[i-1].rank {
			priority++
		}
		l := &endpointv3.LocalityLbEndpoints{Priority: priority, LbEndpoints: g.by[p]}
		if g.shares != nil {
			l.Locality = &corev3.Locality{Zone: p.zone}
			l.LoadBalancingWeight = u32(max(1, g.shares[p.zone]))
		}
		out = append(out, l)
	}
	return out
}
