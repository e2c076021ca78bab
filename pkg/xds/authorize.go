package xds

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// forZtunnels tells the types of ztunnels from those of Envoys.
func forZtunnels(typeURL string) bool {
	return typeURL == wire.TypeAddress || typeURL == wire.TypeAuthorization || typeURL == wire.TypeRange
}

// DefaultAuthorize lets every authenticated proxy read workloads and policies, but a token that is
// bound to a node cannot pose as the ztunnel of another, and Envoy's configuration goes only to
// callers of the waypoint's own namespace.
func DefaultAuthorize(c ca.Caller, nodeID, typeURL string) error {
	if forZtunnels(typeURL) {
		node, ours := strings.CutPrefix(nodeID, wire.ZtunnelPrefix)
		if ours && c.Node != "" && !strings.Contains(node, "~") && node != c.Node {
			return fmt.Errorf("%s cannot be the ztunnel of node %s", c, node)
		}
		return nil
	}
	rest, ok := strings.CutPrefix(waypointKey(nodeID), waypointPrefix)
	if !ok {
		return fmt.Errorf("node id %q may not ask for %s: only waypoints do, as %s<namespace>/<gateway>~<pod>", nodeID, typeURL, waypointPrefix)
	}
	if ns, _, _ := strings.Cut(rest, "/"); ns != c.Namespace {
		return fmt.Errorf("%s cannot read the configuration of waypoint %s: it is of another namespace", c, rest)
	}
	return nil
}
