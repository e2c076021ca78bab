package ztunnel_test

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/state"
)

// A pod's tunnel port is besieged: handshakes that never go on, and what is no TLS at all. The pod is still
// reached, so is its neighbour on the node, and nothing stays behind.
func TestSiegeOfOnePod(t *testing.T) {
	m := shop(t)
	m.serve("10.244.2.9:8080", echo)
	m.enrol("n2", "payments-1", "10.244.2.9")
	m.apply(state.Delta{Workloads: []*model.Workload{workload("n2", "payments-1", "10.244.2.9")}})
	both := func() {
		t.Helper()
		for _, dst := range []string{"10.244.2.1:8080", "10.244.2.9:8080"} {
			c := m.pods["front-1"].app(dst)
			if got, err := say(c, "hello"); err != nil || got != "hello" {
				t.Errorf("%s: %q %v", dst, got, err)
			}
			c.Close()
		}
		until(t, "no connection left", func() bool { return m.nodes["n2"].Flows.Len() == 0 })
	}
	both()
	before := descriptors(t)
	cart := m.pods["cart-1"].listener(15008)
	var besiegers []*conn
	for i := range 200 {
		c, err := m.connect(cart, m.ephemeral(netip.MustParseAddr("10.9.9.9")), netip.MustParseAddrPort("10.244.2.1:15008"))
		if err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			c.Write([]byte("GET / HTTP/1.1\r\nHost: cart\r\n\r\n"))
		case 1:
			c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01}) // the beginning of a ClientHello
		}
		besiegers = append(besiegers, c)
	}
	both()
	for _, c := range besiegers {
		c.Close()
	}
	until(t, "as many descriptors as before", func() bool { return descriptors(t) <= before })
	both()
}
