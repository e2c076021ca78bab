package xds

import (
	"errors"
	"fmt"
	"sync"

	cachetypes "github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/log"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

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
	bad    []error // what could not be encoded and stays as it was
}

// diff encodes what is new or different in next; values that are the same pointer are not looked into.
func diff[T any, M proto.Message](c *change, prev, next map[string]*T, same func(a, b *T) bool, encode func(*T) M) {
	for name, v := range next {
		if old := prev[name]; old == v || (old != nil && same(old, v)) {
			continue
		}
		p, err := packed(encode(v))
		if err != nil {
			c.bad = append(c.bad, fmt.Errorf("%s: %w", name, err))
			continue
		}
		c.update[name] = p
	}
	for name := range prev {
		if _, ok := next[name]; !ok {
			c.remove = append(c.remove, name)
		}
	}
}

// packed keeps a message as its encoding, in a message that has no fields but unknown ones and thus
// encodes to the very same bytes. The cache keeps messages for ever and only ever encodes them; as
// structs 100,000 workloads take three times the memory.
//
// It fails on strings that are not UTF-8. One such resource in the cache would end every stream.
func packed(m proto.Message) (cachetypes.Resource, error) {
	b, err := deterministic.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	out := &emptypb.Empty{}
	out.ProtoReflect().SetUnknown(b)
	return out, nil
}

// unpack reads what packed has kept.
func unpack(r cachetypes.Resource, into proto.Message) error {
	if err := proto.Unmarshal(r.ProtoReflect().GetUnknown(), into); err != nil {
		return fmt.Errorf("cached resource: %w", err)
	}
	return nil
}

// set publishes the differences to the last snapshot. Policies that appear are sent before, policies
// that go after the workloads that name them, so that no workload names a policy that is not there.
// The error names what could not be encoded; everything else is published.
func (w *workloads) set(s *model.Snapshot) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	addr := change{update: map[string]cachetypes.Resource{}}
	diff(&addr, w.last.Workloads, s.Workloads, sameWorkload, EncodeWorkload)
	diff(&addr, w.last.Services, s.Services, sameService, EncodeService)
	pol := change{update: map[string]cachetypes.Resource{}}
	diff(&pol, w.last.Policies, s.Policies, samePolicy, EncodePolicy)
	w.last = s

	return errors.Join(summary(append(addr.bad, pol.bad...)), w.publish(addr, pol))
}

func (w *workloads) publish(addr, pol change) error {
	if len(pol.update) > 0 {
		if err := w.policies.UpdateResources(pol.update, nil); err != nil {
			return err
		}
	}
	if len(addr.update)+len(addr.remove) > 0 {
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
