package state

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

func TestGone(t *testing.T) {
	s := New("n1")
	now := time.Now()
	s.gone.now = func() time.Time { return now }
	enrolled, plain := pod("n1", "cart-1"), pod("n1", "old-1")
	enrolled.Protocol = model.HBONE
	plain.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	vip := netip.MustParseAddr("10.96.0.1")
	service := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Addresses: []netip.Addr{vip}}
	s.Apply(Delta{Workloads: []*model.Workload{enrolled, plain}, Services: []*model.Service{service}})
	want := func(addr, name string) {
		t.Helper()
		if got := s.Gone(netip.MustParseAddr(addr)); got != name {
			t.Errorf("%s was %q, want %q", addr, got, name)
		}
	}
	want("10.0.0.1", "")
	s.Apply(Delta{RemovedAddresses: []string{enrolled.UID, plain.UID, service.Key(), "never known"}})
	want("10.0.0.1", "pod shop/cart-1")
	want("::ffff:10.0.0.1", "pod shop/cart-1")
	want("10.96.0.1", "service cart.shop.svc.cluster.local")
	want("10.0.0.2", "") // it never was of the mesh
	now = now.Add(goneFor + time.Second)
	want("10.0.0.1", "")

	s.Apply(Delta{Services: []*model.Service{service}})
	s.Apply(Delta{RemovedAddresses: []string{service.Key()}})
	if len(s.gone.were) != 1 {
		t.Errorf("%d addresses are remembered, want the last: %v", len(s.gone.were), s.gone.were)
	}
}
