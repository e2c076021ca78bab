package ca

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// NodePolicy lets node proxies have the identities of the pods of their own node, as the last
// Snapshot knows them. Until the first Snapshot it refuses everybody.
type NodePolicy struct {
	// Grace is how long a request for a pod that is not known yet waits for the Snapshot that knows it:
	// a node hears of its own new pods before the controller does. NewNodePolicy sets 1 s; 0 does not wait.
	Grace time.Duration
	// Clock, default the machine's.
	Clock Clock

	proxies []string // namespace/service-account

	updating sync.Mutex      // held by Update; protects last
	last     *model.Snapshot // that pods are of

	mu      sync.Mutex    // protects what follows
	pods    residents     // nil before the first Snapshot
	changed chan struct{} // closed and replaced when more is known
}

// NewNodePolicy trusts callers of these service accounts (namespace/name) to be node proxies,
// e.g. "weft-system/weft-ztunnel".
func NewNodePolicy(proxies ...string) *NodePolicy {
	return &NodePolicy{Grace: time.Second, proxies: slices.Clone(proxies), changed: make(chan struct{})}
}

// SetSnapshot replaces what is known of who runs where; to be scheduled there is enough. Pods on the host's network and workloads that
// terminate the tunnel themselves (waypoints, which ask for their own certificate) do not count.
func (p *NodePolicy) SetSnapshot(s *model.Snapshot) { p.Update(s, nil) }

// Update is SetSnapshot where it is known what differs from the snapshot before; it costs what differs.
func (p *NodePolicy) Update(s *model.Snapshot, what *model.Changes) {
	p.updating.Lock()
	defer p.updating.Unlock()
	before := p.last
	p.last = s
	if !what.From(before) {
		pods := residentsOf(s)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pods = pods
		p.tell()
		return
	}
	uids := slices.Clone(what.Workloads)
	slices.Sort(uids)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, uid := range slices.Compact(uids) {
		p.pods.count(before.Workloads.Get(uid), -1)
		p.pods.count(before.Pending.Get(uid), -1)
		p.pods.count(s.Workloads.Get(uid), 1)
		p.pods.count(s.Pending.Get(uid), 1)
	}
	p.tell()
}

// tell wakes who waits for more to be known. Call with mu held.
func (p *NodePolicy) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// residents counts the pods of an identity on a node.
type residents map[string]map[identity.Identity]int

func residentsOf(s *model.Snapshot) residents {
	out := residents{}
	for _, all := range []model.Table[*model.Workload]{s.Workloads, s.Pending} {
		for _, w := range all.All() {
			out.count(w, 1)
		}
	}
	return out
}

// count notes that a pod comes or goes; nil is none.
func (r residents) count(w *model.Workload, by int) {
	if w == nil || w.Node == "" || w.HostNetwork || w.NativeTunnel {
		return
	}
	ids, id := r[w.Node], w.Identity()
	if ids == nil {
		ids = map[identity.Identity]int{}
		r[w.Node] = ids
	}
	if ids[id] += by; ids[id] == 0 {
		delete(ids, id)
	}
	if len(ids) == 0 {
		delete(r, w.Node)
	}
}

// MayImpersonate is ServiceOptions.MayImpersonate. The error says what is missing. Only a node proxy
// that asks for an unknown pod of its own node is kept waiting, for Grace.
func (p *NodePolicy) MayImpersonate(c Caller, id identity.Identity) error {
	if !slices.Contains(p.proxies, c.Account()) {
		return fmt.Errorf("service account %s is not a node proxy (those are %v)", c.Account(), p.proxies)
	}
	if c.Node == "" {
		return errors.New("its token is not bound to a node: Kubernetes binds projected tokens since 1.32; elsewhere mint it with --node")
	}
	giveUp := clockOr(p.Clock).After(p.Grace)
	for {
		changed, err := p.runsThere(c.Node, id)
		if err == nil || p.Grace == 0 {
			return err
		}
		select {
		case <-changed:
		case <-giveUp:
			return err
		}
	}
}

// runsThere says whether a pod of id is known on a node; the channel closes when more is known.
func (p *NodePolicy) runsThere(node string, id identity.Identity) (<-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pods == nil {
		return p.changed, errors.New("the controller has not read its objects yet; try again")
	}
	if p.pods[node][id] <= 0 {
		return p.changed, fmt.Errorf("no pod of service account %s/%s runs on node %s (a pod that was just made is known a moment later)",
			id.Namespace, id.ServiceAccount, node)
	}
	return nil, nil
}
