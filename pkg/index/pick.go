package index

import "github.com/weftmesh/weft/pkg/model"

// Pick chooses one of candidates for a client of s, nil when none will do.
//
// Unhealthy ones are left out unless the service publishes them. Of the others those win that agree with
// the client in most of s.Preference, counted from its first scope on until one differs; with
// StrictPreference they have to agree in all. Among the winners intn decides: a function that returns a
// number in [0,n), such as rand.IntN. s and client may be nil: nothing is preferred then. Nothing is
// allocated.
func Pick(s *model.Service, client *model.Workload, candidates []*model.Workload, intn func(n int) int) *model.Workload {
	p := prefer(s, client)
	best, count := -1, 0
	for _, w := range candidates {
		switch r := p.rank(w); {
		case r < 0 || r < best:
		case r > best:
			best, count = r, 1
		default:
			count++
		}
	}
	if count == 0 {
		return nil
	}
	n := intn(count)
	for _, w := range candidates {
		if p.rank(w) == best {
			if n == 0 {
				return w
			}
			n--
		}
	}
	return nil
}

func prefer(s *model.Service, client *model.Workload) preference {
	if s == nil {
		return preference{}
	}
	return preference{s.Preference, s.StrictPreference, s.PublishNotReady, client}
}

type preference struct {
	scopes      []model.Scope
	strict      bool
	unhealthyOK bool
	client      *model.Workload
}

// rank is how near w is, -1 if it must not be taken.
func (p *preference) rank(w *model.Workload) int {
	if w.Unhealthy && !p.unhealthyOK {
		return -1
	}
	n := 0
	for _, s := range p.scopes {
		if p.client == nil || !near(s, p.client, w) {
			break
		}
		n++
	}
	if p.strict && n < len(p.scopes) {
		return -1
	}
	return n
}

// near tells whether both are in the same part of the world. Zones are compared within their region.
func near(s model.Scope, a, b *model.Workload) bool {
	la, lb := a.Locality, b.Locality
	switch s {
	case model.ScopeNetwork:
		return a.Network == b.Network
	case model.ScopeRegion:
		return la.Region == lb.Region
	case model.ScopeZone:
		return la.Region == lb.Region && la.Zone == lb.Zone
	case model.ScopeSubzone:
		return la == lb
	case model.ScopeNode:
		return a.Node != "" && a.Node == b.Node
	case model.ScopeCluster:
		return a.Cluster == b.Cluster
	}
	return false
}
