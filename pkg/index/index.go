package index

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"

	"github.com/weftmesh/weft/pkg/model"
)

// Index of the mesh. Make one with New; any number of goroutines may use it.
type Index struct {
	generation atomic.Uint64

	mu        sync.RWMutex // protects what follows
	workloads map[string]*model.Workload
	addresses owners[netip.Addr, *model.Workload]
	members   map[string][]*model.Workload // by service key; old slices are never written to below their length
	services  map[string]*model.Service
	vips      owners[netip.Addr, *model.Service]
	hostnames owners[string, *model.Service]
	policies  map[string]*model.Policy
	ranges    bart.Table[*model.Range]
	wide      map[string][]*model.Policy // namespace and mesh policies by namespace, the mesh's under ""

	watch watchers
}

// New makes an empty index.
func New() *Index {
	return &Index{
		workloads: map[string]*model.Workload{}, members: map[string][]*model.Workload{},
		addresses: newOwners[netip.Addr](lesserWorkload),
		services:  map[string]*model.Service{},
		vips:      newOwners[netip.Addr](lesserService), hostnames: newOwners[string](lesserService),
		policies: map[string]*model.Policy{}, wide: map[string][]*model.Policy{},
	}
}

// FromSnapshot makes an index of a whole mesh.
func FromSnapshot(s *model.Snapshot) *Index {
	x := New()
	for _, w := range s.Workloads.Sorted() {
		x.UpsertWorkload(w)
	}
	for _, key := range slices.Sorted(maps.Keys(s.Services)) {
		x.UpsertService(s.Services[key])
	}
	for _, key := range slices.Sorted(maps.Keys(s.Policies)) {
		x.UpsertPolicy(s.Policies[key])
	}
	for _, r := range s.Ranges {
		x.UpsertRange(r)
	}
	return x
}

// lesserWorkload: the address of a host-network pod is the node's rather than its own.
func lesserWorkload(w *model.Workload) bool { return w.HostNetwork }

// lesserService: of services with one name, the one that Kubernetes knows wins.
func lesserService(s *model.Service) bool { return !s.Canonical }

// Counts of what is known.
type Counts struct {
	Workloads int `json:"workloads"`
	Services  int `json:"services"`
	Policies  int `json:"policies"`
}

// Counts tells how much is known.
func (x *Index) Counts() Counts {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return Counts{len(x.workloads), len(x.services), len(x.policies)}
}

// Generation grows with every change.
func (x *Index) Generation() uint64 { return x.generation.Load() }

// ByUID finds a workload, nil if unknown.
func (x *Index) ByUID(uid string) *model.Workload {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.workloads[uid]
}

// ByAddress finds the workload at an address, nil if unknown.
func (x *Index) ByAddress(a netip.Addr) *model.Workload {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.addresses.find(plain(a))
}

// ServiceByKey finds a service by namespace/hostname, nil if unknown.
func (x *Index) ServiceByKey(key string) *model.Service {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.services[key]
}

// ServiceByVIP finds the service of a virtual address, nil if unknown.
func (x *Index) ServiceByVIP(a netip.Addr) *model.Service {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.vips.find(plain(a))
}

// ServiceByHostname finds a service by its full DNS name, in any case, with or without the last dot; nil
// if unknown.
func (x *Index) ServiceByHostname(name string) *model.Service {
	name = canonical(name)
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.hostnames.find(name)
}

// Endpoints are the workloads of a service, healthy or not, in no particular order.
func (x *Index) Endpoints(serviceKey string) []*model.Workload {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return slices.Clip(x.members[serviceKey])
}

// Waypoint resolves a reference: the service that it names, if it names one, and the pods to choose from.
// Both are nil when the waypoint is not there; traffic that must pass it is then to be refused.
func (x *Index) Waypoint(g *model.Gateway) (*model.Service, []*model.Workload) {
	var s *model.Service
	switch {
	case g == nil:
		return nil, nil
	case g.Hostname != "" && g.Namespace != "":
		s = x.ServiceByKey(g.Namespace + "/" + g.Hostname)
	case g.Hostname != "":
		s = x.ServiceByHostname(g.Hostname)
	default:
		if w := x.ByAddress(g.Address); w != nil {
			return nil, []*model.Workload{w}
		}
		s = x.ServiceByVIP(g.Address)
	}
	if s == nil {
		return nil, nil
	}
	return s, x.Endpoints(s.Key())
}

// Workloads lists all, by UID.
func (x *Index) Workloads() []*model.Workload { return sorted(x, x.workloads) }

// Services lists all, by key.
func (x *Index) Services() []*model.Service { return sorted(x, x.services) }

// Policies lists all, by key.
func (x *Index) Policies() []*model.Policy { return sorted(x, x.policies) }

func sorted[T any](x *Index, m map[string]T) []T {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make([]T, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func canonical(hostname string) string { return strings.ToLower(strings.TrimSuffix(hostname, ".")) }
