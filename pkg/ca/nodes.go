package ca

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// NodePolicy lets node proxies have the identities of the pods of their own node, as the last
// Snapshot knows them. Until the first Snapshot it refuses everybody.
type NodePolicy struct {
	proxies []string // namespace/service-account
	byNode  atomic.Pointer[map[string]map[identity.Identity]struct{}]
}

// NewNodePolicy trusts callers of these service accounts (namespace/name) to be node proxies,
// e.g. "weft-system/weft-ztunnel".
func NewNodePolicy(proxies ...string) *NodePolicy { return &NodePolicy{proxies: slices.Clone(proxies)} }

// SetSnapshot replaces what is known of who runs where. Pods on the host's network and workloads that
// terminate the tunnel themselves (waypoints, which ask for their own certificate) do not count.
func (p *NodePolicy) SetSnapshot(s *model.Snapshot) {
	byNode := map[string]map[identity.Identity]struct{}{}
	for _, w := range s.Workloads {
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
	p.byNode.Store(&byNode)
}

// MayImpersonate is ServiceOptions.MayImpersonate. The error says what is missing.
func (p *NodePolicy) MayImpersonate(c Caller, id identity.Identity) error {
	if !slices.Contains(p.proxies, c.Account()) {
		return fmt.Errorf("service account %s is not a node proxy (those are %v)", c.Account(), p.proxies)
	}
	if c.Node == "" {
		return errors.New("its token is not bound to a node: Kubernetes binds projected tokens since 1.32; elsewhere mint it with --node")
	}
	byNode := p.byNode.Load()
	if byNode == nil {
		return errors.New("the controller has not read its objects yet; try again")
	}
	if _, ok := (*byNode)[c.Node][id]; !ok {
		return fmt.Errorf("no pod of service account %s/%s runs on node %s (a pod that was just made is known a moment later)",
			id.Namespace, id.ServiceAccount, c.Node)
	}
	return nil
}
