package index

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

func TestRangeOf(t *testing.T) {
	x := New()
	pods := &model.Range{Prefix: netip.MustParsePrefix("10.1.0.0/16")}
	node := &model.Range{Prefix: netip.MustParsePrefix("10.1.2.0/24")}
	services := &model.Range{Prefix: netip.MustParsePrefix("fd00:96::/108"), Services: true}
	for _, r := range []*model.Range{pods, node, services} {
		x.UpsertRange(r)
	}
	check := func(wants map[string]*model.Range) {
		t.Helper()
		for a, want := range wants {
			if got := x.RangeOf(netip.MustParseAddr(a)); got != want {
				t.Errorf("%s: %v, want %v", a, got, want)
			}
		}
	}
	check(map[string]*model.Range{"10.1.2.3": node, "::ffff:10.1.2.3": node, "10.1.3.3": pods, "10.2.0.1": nil, "fd00:96::1": services,
		"10.1.2.1": nil, // a node's own, on the bridge of its pods
	})
	x.RemoveRange(node.Prefix)
	check(map[string]*model.Range{"10.1.2.3": pods})
	snap := model.NewSnapshot()
	snap.Ranges[pods.Key()] = pods
	if FromSnapshot(snap).RangeOf(netip.MustParseAddr("10.1.9.9")) != pods {
		t.Error("not taken from the snapshot")
	}
}
