package cluster

import (
	"fmt"
	"path/filepath"
	"strings"
)

const (
	// known only inside of the nodes, so every cluster may have the same
	serviceCIDR  = "10.96.0.0/16"
	serviceCIDR6 = "fd96::/112"
	serviceAPI   = "10.96.0.1"
	serviceDNS   = "10.96.0.10"
	maxIndex     = 9
	maxNodes     = 50
)

// layout names everything of the cluster with this index.
type layout struct {
	index int
	dual  bool // IPv6, too
}

func (l layout) name() string            { return fmt.Sprintf("wft-k%d", l.index) }
func (l layout) bridge() string          { return fmt.Sprintf("wftk%d", l.index) }
func (l layout) hostIP() string          { return fmt.Sprintf("172.29.%d.1", l.index) }
func (l layout) controlIP() string       { return fmt.Sprintf("172.29.%d.2", l.index) }
func (l layout) nodeIP(n int) string     { return fmt.Sprintf("172.29.%d.%d", l.index, 10+n) }
func (l layout) podCIDR() string         { return fmt.Sprintf("10.%d.0.0/16", 220+l.index) }
func (l layout) nodeCIDR(n int) string   { return fmt.Sprintf("10.%d.%d.0/24", 220+l.index, n) }
func (l layout) server() string          { return "https://" + l.controlIP() + ":6443" }
func (l layout) hostIP6() string         { return fmt.Sprintf("fd29:%d::1", l.index) }
func (l layout) nodeIP6(n int) string    { return fmt.Sprintf("fd29:%d::%d", l.index, 10+n) }
func (l layout) podCIDR6() string        { return fmt.Sprintf("fd10:%d::/32", 220+l.index) }
func (l layout) nodeCIDR6(n int) string  { return fmt.Sprintf("fd10:%d:%d::/64", 220+l.index, n) }
func (l layout) nodeNetns(n int) string  { return fmt.Sprintf("wft-k%d-n%d", l.index, n) }
func (l layout) nodeLink(n int) string   { return fmt.Sprintf("wftk%dn%d", l.index, n) }
func (l layout) controlLink() string     { return fmt.Sprintf("wftk%dcp", l.index) }
func (l layout) nodeCgroup(n int) string { return filepath.Join(l.name(), nodeName(n)) }
func (l layout) ownsNetns(ns string) bool {
	return ns == l.name() || strings.HasPrefix(ns, l.name()+"-")
}
func (l layout) ownsLink(link string) bool {
	return link == l.bridge() || strings.HasPrefix(link, l.bridge()+"n") || link == l.controlLink()
}

// both joins what a flag wants of each family.
func (l layout) both(v4, v6 string) string {
	if l.dual {
		return v4 + "," + v6
	}
	return v4
}

func nodeName(n int) string { return fmt.Sprintf("n%d", n) }

// nodeNumber is the J of a node's name nJ, or an error that lists what there is.
func nodeNumber(name string, nodes int) (int, error) {
	for n := 1; n <= nodes; n++ {
		if nodeName(n) == name {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no node %q: this cluster has n1 to n%d", name, nodes)
}
