package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// A client that takes parts gets everything in them, and what changed meanwhile behind them.
func TestEverythingInParts(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.workloads.addresses.partSize = 1
	s.SetSnapshot(mesh("a", "b", "c"))
	conn := r.dial(t, at, ca.MintOptions{Node: "n1"})
	p := openPlain(t, conn)
	p.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "ztunnel~n1", ClientFeatures: []string{wire.TakesParts}}, TypeUrl: wire.TypeAddress})
	one := p.recv()
	seen := shape(one)
	rest := slices.DeleteFunc([]string{"a", "b", "c"}, func(n string) bool { return n == seen })
	// While it waits, what it has changes, one that it lacks goes, another comes in that one's slot, and one behind.
	s.SetSnapshot(mesh(seen+"=2", rest[1], "d", "e"))
	var parts []string
	for wire.MoreFollows(one.GetSystemVersionInfo()) {
		p.ack(one)
		one = p.recv()
		parts = append(parts, shape(one))
	}
	p.ack(one)
	slices.Sort(parts)
	if got := strings.Join(parts, " "); got != rest[1]+" d e" {
		t.Errorf("the other parts were %s", got)
	}
	expect(t, p.recv(), strings.Join(slices.Sorted(slices.Values([]string{"-" + rest[0], seen, "d", "e"})), " "))

	// With versions, and from others, everything that is lacking comes in one.
	p = openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	expect(t, p.recv(), strings.Join(slices.Sorted(slices.Values([]string{seen, rest[1], "d", "e"})), " "))
}

// Our own client takes parts, and has everything only with the last.
func TestClientTakesParts(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.workloads.addresses.partSize = 1
	var words []string
	for i := range 300 {
		words = append(words, fmt.Sprintf("W%d", i))
	}
	s.SetSnapshot(mesh(words...))
	st := newStore()
	c := runClient(t, subscribe.Options{Conn: r.dial(t, at, ca.MintOptions{Node: "n1"}), Handler: st})
	waitSynced(t, c)
	if got := st.counts(); got != "300 workloads, 0 services, 0 policies" {
		t.Errorf("at first it had %s", got)
	}
	for _, state := range s.Clients() {
		if n := state.Types[wire.TypeAddress].Responses; n != 300 {
			t.Errorf("%d responses", n)
		}
	}
}

func TestOrderKeepsSlots(t *testing.T) {
	var o order
	slots := map[string]int32{}
	for i := range 100 {
		name := fmt.Sprint("r", i)
		slots[name] = o.add(name)
		if i%3 == 0 {
			o.remove(slots[name])
			delete(slots, name)
		}
	}
	for name := range maps.Keys(slots) {
		if o.names[slots[name]] != name {
			t.Errorf("%s is not in its slot", name)
		}
	}
	if n := len(o.names) - len(o.free); n != len(slots) {
		t.Errorf("%d of %d slots are in use", n, len(slots))
	}
}
