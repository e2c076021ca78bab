package xds

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/wire"
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

// diff encodes what is new or different in next; values that are the same pointer are not looked into.
// What is not UTF-8 cannot be encoded: sent, it would end every stream.
func diff[T any, M proto.Message](c *change, prev, next map[string]*T, same func(a, b *T) bool, encode func(*T) M) {
	for name, v := range next {
		if old := prev[name]; old == v || (old != nil && same(old, v)) {
			continue
		}
		b, err := wire.Marshal(encode(v))
		if err != nil {
			c.bad = append(c.bad, fmt.Errorf("%s: encode: %w", name, err))
			continue
		}
		c.update[name] = b
	}
	for name := range prev {
		if _, ok := next[name]; !ok {
			c.remove = append(c.remove, name)
		}
	}
}

// set publishes the differences to the last snapshot. Policies that appear are sent before, policies
// that go after the workloads that name them, so that no workload names a policy that is not there.
// The error names what could not be encoded; everything else is published.
func (w *workloads) set(s *model.Snapshot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	addr := change{update: map[string][]byte{}}
	diff(&addr, w.last.Workloads, s.Workloads, wire.SameWorkload, wire.EncodeWorkload)
	diff(&addr, w.last.Services, s.Services, wire.SameService, wire.EncodeService)
	pol := change{update: map[string][]byte{}}
	diff(&pol, w.last.Policies, s.Policies, wire.SamePolicy, wire.EncodePolicy)
	ranges := change{update: map[string][]byte{}}
	diff(&ranges, w.last.Ranges, s.Ranges, wire.SameRange, wire.EncodeRange)
	w.last = s

	return errors.Join(wire.Summary(append(addr.bad, pol.bad...)), w.ranges.set(ranges),
		w.policies.set(change{update: pol.update}), w.addresses.set(addr), w.policies.set(change{remove: pol.remove}))
}
