package xds

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/wire"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// workloads holds what ztunnels subscribe to.
type workloads struct {
	addresses *deltaCache // by uid and namespace/hostname
	policies  *deltaCache // by namespace/name
	ranges    *deltaCache // by prefix

	mu   sync.Mutex // protects what follows, and the order of updates
	last *model.Snapshot
}

func newWorkloads() *workloads {
	return &workloads{
		addresses: newDeltaCache(wire.TypeAddress, addressesOf),
		policies:  newDeltaCache(wire.TypeAuthorization, nameless),
		ranges:    newDeltaCache(wire.TypeRange, nameless),
		last:      model.NewSnapshot(),
	}
}

// nameless: its resources are asked for by their own names only.
func nameless([]byte) []string { return nil }

// differ compares two states of the resources of a kind.
type differ[T any, M proto.Message] struct {
	same   func(a, b *T) bool
	encode func(*T) M
}

// one encodes a resource that is new or different; values that are the same pointer are not looked into.
// What is not UTF-8 cannot be encoded: sent, it would end every stream.
func (d differ[T, M]) one(c *change, name string, old, v *T) {
	switch {
	case old == v:
		return
	case v == nil:
		c.remove = append(c.remove, name)
		return
	case old != nil && d.same(old, v):
		return
	}
	b, err := wire.Marshal(d.encode(v))
	if err != nil {
		c.bad = append(c.bad, fmt.Errorf("%s: encode: %w", name, err))
		return
	}
	c.update[name] = b
}

func (d differ[T, M]) all(c *change, prev, next map[string]*T) {
	for name, v := range next {
		d.one(c, name, prev[name], v)
	}
	for name, v := range prev {
		if next[name] == nil {
			d.one(c, name, v, nil)
		}
	}
}

func (d differ[T, M]) table(c *change, prev, next model.Table[*T]) {
	for name, v := range next.All() {
		d.one(c, name, prev.Get(name), v)
	}
	for name, v := range prev.All() {
		if next.Get(name) == nil {
			d.one(c, name, v, nil)
		}
	}
}

var (
	workloadDiffer = differ[model.Workload, *workloadapi.Address]{wire.SameWorkload, wire.EncodeWorkload}
	serviceDiffer  = differ[model.Service, *workloadapi.Address]{wire.SameService, wire.EncodeService}
	policyDiffer   = differ[model.Policy, *security.Authorization]{wire.SamePolicy, wire.EncodePolicy}
	rangeDiffer    = differ[model.Range, *weftv1.Range]{wire.SameRange, wire.EncodeRange}
)

// set publishes the differences to the last snapshot: those that what names, where that says what differs from it.
// Policies that appear are sent before, policies that go after the workloads that name them, so that no workload names
// a policy that is not there; where only workloads differ, some changes may be gathered. The error names what could not be encoded; everything else is published.
func (w *workloads) set(s *model.Snapshot, what *model.Changes) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := w.last
	w.last = s
	addr := change{update: map[string][]byte{}}
	if what.From(last) {
		for _, uid := range sortedUnique(what.Workloads) {
			workloadDiffer.one(&addr, uid, last.Workloads.Get(uid), s.Workloads.Get(uid))
		}
		return errors.Join(wire.Summary(addr.bad), w.addresses.gather(addr))
	}
	workloadDiffer.table(&addr, last.Workloads, s.Workloads)
	serviceDiffer.all(&addr, last.Services, s.Services)
	pol := change{update: map[string][]byte{}}
	policyDiffer.all(&pol, last.Policies, s.Policies)
	ranges := change{update: map[string][]byte{}}
	rangeDiffer.all(&ranges, last.Ranges, s.Ranges)

	return errors.Join(wire.Summary(append(addr.bad, pol.bad...)), w.ranges.set(ranges),
		w.policies.set(change{update: pol.update}), w.addresses.set(addr), w.policies.set(change{remove: pol.remove}))
}

// sortedUnique leaves its argument as it is.
func sortedUnique(names []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}
