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

	mu      sync.Mutex                                // protects what follows
	byNode  map[string]map[identity.Identity]struct{} // nil before the first Snapshot; never changed, only replaced
	changed chan struct{}                             // closed and replaced by SetSnapshot
}

// NewNodePolicy trusts callers of these service accounts (namespace/name) to be node proxies,
// e.g. "weft-system/weft-ztunnel".
func NewNodePolicy(proxies ...string) *NodePolicy {
	return &NodePolicy{Grace: time.Second, proxies: slices.Clone(proxies), changed: make(chan struct{})}
}

// SetSnapshot replaces what is known of who runs where; to be scheduled there is enough. Pods on the host's network and workloads that
// terminate the tunnel themselves (waypoints, which ask for their own certificate) do not count.
func (p *NodePolicy) SetSnapshot(s *model.Snapshot) {
	byNode := map[string]map[identity.Identity]struct{}{}
	for _, all := range []map[string]*model.Workload{s.Workloads, s.Pending} {
		for _, w := range all {
			if w.Node == "" || w.HostNetwork || w.NativeTunnel {
				continue
			}
			ids := byNode[w.Node]
			if ids == nil {
				ids = map[identity.Identity]struct{}{}
				byNode[w.Node] = ids
			}
			ids[w.Identity()] = struct{}{}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.byNode = byNode
	close(p.changed)
	p.changed = make(chan struct{})
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
	if p.byNode == nil {
		return p.changed, errors.New("the controller has not read its objects yet; try again")
	}
	if _, ok := p.byNode[node][id]; !ok {
		return p.changed, fmt.Errorf("no pod of service account %s/%s runs on node %s (a pod that was just made is known a moment later)",
			id.Namespace, id.ServiceAccount, node)
	}
	return nil, nil
}
