package state

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
)

// Share has a workload that nobody else has seen yet refer to what the latest endpoint of one of its services says
// alike: in a mesh whose pods come and go one by one, each would else bring its own copy of all that.
func (s *State) Share(w *model.Workload) {
	for key := range w.Services {
		others := s.Endpoints(key)
		if len(others) == 0 {
			continue
		}
		o := others[len(others)-1]
		if maps.EqualFunc(w.Services, o.Services, slices.Equal[[]model.Port]) {
			w.Services = o.Services
		}
		if slices.Equal(w.Policies, o.Policies) {
			w.Policies = o.Policies
		}
		for _, p := range []struct{ mine, other *string }{
			{&w.Namespace, &o.Namespace}, {&w.ServiceAccount, &o.ServiceAccount}, {&w.TrustDomain, &o.TrustDomain}, {&w.Network, &o.Network},
			{&w.Cluster, &o.Cluster}, {&w.CanonicalName, &o.CanonicalName}, {&w.CanonicalRev, &o.CanonicalRev}, {&w.OwnerName, &o.OwnerName},
			{&w.Locality.Region, &o.Locality.Region}, {&w.Locality.Zone, &o.Locality.Zone}, {&w.Locality.Subzone, &o.Locality.Subzone},
		} {
			if *p.mine == *p.other {
				*p.mine = *p.other
			}
		}
		return
	}
}
