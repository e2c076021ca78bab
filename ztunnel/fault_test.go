package ztunnel_test

import (
	"io"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/state"
)

// faulty is the shop whose cart has faults.
func faulty(t *testing.T, faults ...model.ConnFault) *mesh {
	t.Helper()
	m := shop(t)
	m.setFaults(faults...)
	return m
}

func (m *mesh) setFaults(faults ...model.ConnFault) {
	s := service("cart", "10.96.0.2", 8080)
	s.Faults = faults
	m.apply(state.Delta{Services: []*model.Service{s}})
}

func TestFaultRefuses(t *testing.T) {
	m := faulty(t, model.ConnFault{Name: "shop/down", RefusePercent: 100})
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), 2*time.Second)
	m.nodes["n1"].record(t, map[string]any{"flags": "FI", "fault": "shop/down refuse", "cause": "refused by Fault shop/down", "dst_service": "cart.shop.svc.cluster.local"})
	if n := metric(t, m.nodes["n1"], "weft_faults_injected_total"); n != 1 {
		t.Errorf("%v counted", n)
	}
	// Whoever knows the pod's address does not call the service.
	if _, err := say(m.pods["front-1"].app("10.244.2.1:8080"), "hello"); err != nil {
		t.Error(err)
	}
}

// A fault for one caller leaves the others alone, and so does one whose time is over.
func TestFaultLeavesOthersAlone(t *testing.T) {
	m := faulty(t,
		model.ConnFault{Name: "shop/theirs", RefusePercent: 100, From: []model.CallerMatch{{ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "batch"}}}}},
		model.ConnFault{Name: "shop/over", RefusePercent: 100, Until: time.Now().Add(-time.Second)})
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if r := m.nodes["n1"].record(t, map[string]any{"flags": "-", "direction": "outbound"}); r["fault"] != nil {
		t.Errorf("%v", r["fault"])
	}
}

// The connection is good, and took as long as was asked.
func TestFaultDelays(t *testing.T) {
	m := faulty(t, model.ConnFault{Name: "shop/slow", DelayPercent: 100, Delay: 150 * time.Millisecond})
	start := time.Now()
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 150*time.Millisecond {
		t.Errorf("answered after %v", d)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"flags": "-", "fault": "shop/slow delay", "security": "mutual_tls"})
}

// A pod that goes while its connection is held back does not hold it back longer.
func TestDelayedConnectionIsCut(t *testing.T) {
	m := faulty(t, model.ConnFault{Name: "shop/slow", DelayPercent: 100, Delay: time.Hour})
	c := m.pods["front-1"].app("10.96.0.2:80")
	until(t, "the connection is held back", func() bool { return m.nodes["n1"].Flows.Len() == 1 })
	m.nodes["n1"].Pods.Del("uid-front-1")
	refused(t, c, 5*time.Second)
}

func TestFaultResetsAfterBytes(t *testing.T) {
	m := faulty(t, model.ConnFault{Name: "shop/cut", ResetPercent: 100, ResetAfter: 10})
	c := m.pods["front-1"].app("10.96.0.2:80")
	if got, err := say(c, "hello"); err != nil || got != "hello" { // 5 there and 5 back
		t.Fatalf("%q %v", got, err)
	}
	refused(t, c, 2*time.Second)
	m.nodes["n1"].record(t, map[string]any{"flags": "FI", "fault": "shop/cut reset", "cause": "reset after 10 bytes by Fault shop/cut", "bytes_sent": 5.0, "bytes_received": 5.0})
	m.nodes["n2"].record(t, map[string]any{"direction": "inbound", "bytes_sent": 5.0})
}

// A slowed connection carries everything, both ways, and is freed when the fault is taken away.
func TestFaultLimitsBandwidthUntilItIsTakenAway(t *testing.T) {
	m := faulty(t, model.ConnFault{Name: "shop/thin", BandwidthPercent: 100, Bandwidth: 1000})
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	const size = 200_000 // more than three minutes at that rate
	go func() { _, _ = c.Write(make([]byte, size)) }()
	until(t, "some bytes passed", func() bool { return m.nodes["n1"].Flows.Views()[0].Sent > 100 })
	if n := m.nodes["n1"].Flows.Views()[0].Sent; n > size/10 {
		t.Errorf("%d bytes passed already", n)
	}
	m.setFaults()
	if n, err := io.CopyN(io.Discard, c, size); err != nil {
		t.Errorf("%d bytes came back: %v", n, err)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"flags": "-", "fault": "shop/thin bandwidth"})
}
