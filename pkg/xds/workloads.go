package xds

import (
	"reflect"
	"sync"

	cachetypes "github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/log"

	"github.com/weftmesh/weft/pkg/model"
)

// workloads holds what ztunnels subscribe to, as go-control-plane's linear caches.
type workloads struct {
	addresses *cache.LinearCache // by uid and namespace/hostname
	policies  *cache.LinearCache // by namespace/name
	log       log.Logger

	mu      sync.Mutex // protects what follows, and the order of updates
	last    *model.Snapshot
	aliases *aliases // nil until the first client asks for single addresses
}

func newWorkloads(l log.Logger) *workloads {
	return &workloads{
		addresses: cache.NewLinearCache(TypeAddress, cache.WithLogger(l)),
		policies:  cache.NewLinearCache(TypeAuthorization, cache.WithLogger(l)),
		log:       l, last: model.NewSnapshot(),
	}
}

// change is what differs between two snapshots in one cache.
type change struct {
	update map[string]cachetypes.Resource
	remove []string
}

func (c change) empty() bool { return len(c.update)+len(c.remove) == 0 }

// diff encodes what is new or different in next; values that are the same pointer are not looked into.
func diff[T any](c *change, prev, next map[string]*T, encode func(*T) cachetypes.Resource) {
	for name, v := range next {
		if old := prev[name]; old == v || (old != nil && reflect.DeepEqual(old, v)) {
			continue
		}
		c.update[name] = encode(v)
	}
	for name := range prev {
		if _, ok := next[name]; !ok {
			c.remove = append(c.remove, name)
		}
	}
}

func encodeWorkload(w *model.Workload) cachetypes.Resource { return EncodeWorkload(w) }
func encodeService(s *model.Service) cachetypes.Resource   { return EncodeService(s) }
func encodePolicy(p *model.Policy) cachetypes.Resource     { return EncodePolicy(p) }

// set publishes the differences to the last snapshot. Policies that appear are sent before, policies
// that go after the workloads that name them, so that no workload names a policy that is not there.
func (w *workloads) set(s *model.Snapshot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	addr := change{update: map[string]cachetypes.Resource{}}
	diff(&addr, w.last.Workloads, s.Workloads, encodeWorkload)
	diff(&addr, w.last.Services, s.Services, encodeService)
	pol := change{update: map[string]cachetypes.Resource{}}
	diff(&pol, w.last.Policies, s.Policies, encodePolicy)
	w.last = s

	if len(pol.update) > 0 {
		if err := w.policies.UpdateResources(pol.update, nil); err != nil {
			return err
		}
	}
	if !addr.empty() {
		if err := w.addresses.UpdateResources(addr.update, addr.remove); err != nil {
			return err
		}
		if w.aliases != nil {
			if err := w.aliases.apply(addr); err != nil {
				return err
			}
		}
	}
	if len(pol.remove) > 0 {
		return w.policies.UpdateResources(nil, pol.remove)
	}
	return nil
}

// CreateWatch answers state-of-the-world requests for addresses.
func (w *workloads) CreateWatch(r *cache.Request, sub cache.Subscription, out chan cache.Response) (func(), error) {
	return w.addresses.CreateWatch(r, sub, out)
}

// CreateDeltaWatch answers delta requests for addresses: everything, or single ones by name or address.
func (w *workloads) CreateDeltaWatch(r *cache.DeltaRequest, sub cache.Subscription, out chan cache.DeltaResponse) (func(), error) {
	if sub.IsWildcard() {
		return w.addresses.CreateDeltaWatch(r, sub, out)
	}
	c, err := w.onDemand()
	if err != nil {
		return nil, err
	}
	return c.CreateDeltaWatch(r, answerAll(r, sub), out)
}
