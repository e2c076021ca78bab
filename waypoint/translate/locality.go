package translate

import "github.com/weftmesh/weft/pkg/model"

// vicinity is where a waypoint stands.
type vicinity struct {
	at    *model.Workload // nil: nowhere in particular
	exact bool            // it is one pod, whose services may insist on what is near
}

// nowhere is a place that no endpoint is in: pods of the waypoint differ there.
const nowhere = "\x00elsewhere"

// vicinity is Config.Self or what the waypoint's pods have in common: they all get the same configuration.
func (b *builder) vicinity() vicinity {
	if b.cfg.Self != nil {
		return vicinity{b.cfg.Self, true}
	}
	var at *model.Workload
	for _, w := range b.workloads[b.waypoint.Namespace+"/"+b.waypoint.Hostname] {
		switch {
		case w.Unhealthy:
		case at == nil:
			first := *w
			at = &first
		default:
			differ(&at.Network, w.Network)
			differ(&at.Cluster, w.Cluster)
			differ(&at.Locality.Region, w.Locality.Region)
			differ(&at.Locality.Zone, w.Locality.Zone)
			differ(&at.Locality.Subzone, w.Locality.Subzone)
			differ(&at.Node, w.Node)
		}
	}
	return vicinity{at: at}
}

func differ(at *string, other string) {
	if *at != other {
		*at = nowhere
	}
}

// rank says how near a workload is: 0 shares every scope that the service prefers, and each scope less is
// one more. ok is false for a workload that a strict service does not use. What a service insists on is
// near to its client, though, whom nobody knows here: of several pods' vicinity it is only a preference.
func (b *builder) rank(s *model.Service, w *model.Workload) (rank int, ok bool) {
	if b.near.at == nil || len(s.Preference) == 0 {
		return 0, true
	}
	same := 0
	for _, scope := range s.Preference {
		if !sameScope(scope, b.near.at, w) {
			break
		}
		same++
	}
	rank = len(s.Preference) - same
	return rank, rank == 0 || !s.StrictPreference || !b.near.exact
}

// sameScope reports whether two workloads share a scope; narrower scopes include the wider ones.
func sameScope(s model.Scope, a, b *model.Workload) bool {
	region := a.Locality.Region == b.Locality.Region
	zone := region && a.Locality.Zone == b.Locality.Zone
	switch s {
	case model.ScopeNetwork:
		return a.Network == b.Network
	case model.ScopeCluster:
		return a.Cluster == b.Cluster
	case model.ScopeRegion:
		return region
	case model.ScopeZone:
		return zone
	case model.ScopeSubzone:
		return zone && a.Locality.Subzone == b.Locality.Subzone
	case model.ScopeNode:
		return a.Node != "" && a.Node == b.Node
	}
	return false
}
