package cluster

import (
	"net/netip"
	"testing"
)

// Clusters with different indices share no name, no address and no prefix, and every name fits an interface.
func TestClustersDoNotMeet(t *testing.T) {
	seen := map[string]int{}
	var subnets []netip.Prefix
	for index := range maxIndex + 1 {
		l := layout{index: index}
		names := []string{l.name(), l.bridge(), l.controlLink(), l.hostIP(), l.controlIP()}
		for n := 1; n <= maxNodes; n++ {
			names = append(names, l.nodeLink(n), l.nodeNetns(n), l.nodeIP(n), l.nodeCIDR(n), l.nodeIP6(n), l.nodeCIDR6(n))
			if len(l.nodeLink(n)) > 15 {
				t.Errorf("%s is longer than an interface's name may be", l.nodeLink(n))
			}
			for all, node := range map[string]string{l.podCIDR(): l.nodeCIDR(n), l.podCIDR6(): l.nodeCIDR6(n)} {
				if !netip.MustParsePrefix(all).Overlaps(netip.MustParsePrefix(node)) {
					t.Errorf("pods of node %d (%s) are not among the cluster's (%s)", n, node, all)
				}
			}
		}
		for _, name := range names {
			if other, twice := seen[name]; twice {
				t.Errorf("%s belongs to cluster %d and %d", name, other, index)
			}
			seen[name] = index
		}
		for other := range maxIndex + 1 {
			o := layout{index: other}
			owns := l.ownsLink(o.bridge()) || l.ownsLink(o.nodeLink(1)) || l.ownsLink(o.controlLink()) || l.ownsNetns(o.name()) || l.ownsNetns(o.nodeNetns(1))
			if owns != (other == index) {
				t.Errorf("cluster %d takes what cluster %d has for its own: %v", index, other, owns)
			}
		}
		for _, cidr := range []string{l.podCIDR(), l.podCIDR6(), l.hostIP6() + "/64", l.hostIP() + "/24", serviceCIDR} {
			p := netip.MustParsePrefix(cidr).Masked()
			for _, s := range subnets {
				if s.Overlaps(p) && cidr != serviceCIDR {
					t.Errorf("cluster %d: %s overlaps %s", index, p, s)
				}
			}
			subnets = append(subnets, p)
		}
	}
}

func TestNodeNames(t *testing.T) {
	if n, err := nodeNumber("n2", 2); n != 2 || err != nil {
		t.Errorf("n2 of two is %d, %v", n, err)
	}
	for _, wrong := range []string{"n3", "n0", "", "2"} {
		if n, err := nodeNumber(wrong, 2); err == nil {
			t.Errorf("%q of two nodes is %d", wrong, n)
		}
	}
}
