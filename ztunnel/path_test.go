package ztunnel_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/state"
)

const (
	frontID = "spiffe://cluster.local/ns/shop/sa/front"
	cartID  = "spiffe://cluster.local/ns/shop/sa/cart"
)

func TestThroughTheTunnel(t *testing.T) {
	m := shop(t)
	for _, dst := range []string{"10.96.0.2:80", "10.244.2.1:8080"} {
		c := m.pods["front-1"].app(dst)
		if got, err := say(c, "hello"); err != nil || got != "hello" {
			t.Fatalf("%s: %q %v", dst, got, err)
		}
		if got := m.lastClient(); got != "10.244.1.1" {
			t.Errorf("%s: the application saw client %s", dst, got)
		}
		if n := len(m.nodes["n2"].Flows.Views()); n != 1 {
			t.Errorf("%s: %d connections on n2", dst, n)
		}
		c.CloseWrite()
		if rest, err := io.ReadAll(c); err != nil || len(rest) != 0 {
			t.Errorf("%s: %q %v", dst, rest, err)
		}
		both := map[string]any{"dst_addr": "10.244.2.1:8080", "src_identity": frontID, "dst_identity": cartID, "security": "mutual_tls",
			"bytes_sent": 5.0, "bytes_received": 5.0, "flags": "-", "src_workload": "shop/front-1", "dst_workload": "shop/cart-1", "dst_service": "cart.shop.svc.cluster.local"}
		both["direction"] = "outbound"
		m.nodes["n1"].record(t, both)
		both["direction"] = "inbound"
		m.nodes["n2"].record(t, both)
	}
	if len(m.plainSeen) != 0 {
		t.Errorf("sent in plaintext to %v", m.plainSeen)
	}
}

func TestBulkBothWays(t *testing.T) {
	m := shop(t)
	c := m.pods["front-1"].app("10.96.0.2:80")
	data := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{7}).Read(data)
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes, err %v", len(got), len(data), err)
	}
}

func TestServerFirst(t *testing.T) {
	m := shop(t)
	m.serve("10.244.2.1:25", func(c *net.TCPConn) { c.Write([]byte("220 ready\n")); c.Close() })
	c := m.pods["front-1"].app("10.244.2.1:25")
	if b, err := io.ReadAll(c); err != nil || string(b) != "220 ready\n" {
		t.Errorf("%q %v", b, err)
	}
}

func TestHalfCloseThroughTheTunnel(t *testing.T) {
	m := shop(t)
	m.serve("10.244.2.1:9", func(c *net.TCPConn) {
		b, _ := io.ReadAll(c) // to the end first
		c.Write(append(b, " and back"...))
		c.Close()
	})
	c := m.pods["front-1"].app("10.244.2.1:9")
	c.Write([]byte("there"))
	c.CloseWrite()
	if b, err := io.ReadAll(c); err != nil || string(b) != "there and back" {
		t.Errorf("%q %v", b, err)
	}
}

func TestResetThroughTheTunnel(t *testing.T) {
	m := shop(t)
	m.serve("10.244.2.1:7", func(c *net.TCPConn) {
		c.Write([]byte("x"))
		io.ReadFull(c, make([]byte, 1))
		relay.Reset(c)
	})
	c := m.pods["front-1"].app("10.244.2.1:7")
	io.ReadFull(c, make([]byte, 1))
	c.Write([]byte("y"))
	refused(t, c, 5*time.Second)

	saw := make(chan error, 1)
	m.serve("10.244.2.1:8", func(c *net.TCPConn) {
		c.Write([]byte("x"))
		_, err := c.Read(make([]byte, 1))
		saw <- err
	})
	c = m.pods["front-1"].app("10.244.2.1:8")
	io.ReadFull(c, make([]byte, 1))
	relay.Reset(c)
	select {
	case err := <-saw:
		if err == nil || err == io.EOF {
			t.Errorf("the client's reset reached the application as %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the client's reset did not reach the application")
	}
}

func TestConnectionRefused(t *testing.T) {
	m := shop(t)
	refused(t, m.pods["front-1"].app("10.244.2.1:81"), 2*time.Second) // nothing listens there
	refused(t, m.pods["front-1"].app("10.96.0.2:81"), 2*time.Second)  // no such service port
	refused(t, m.pods["front-1"].app("192.0.2.1:443"), 2*time.Second) // outside, nobody there
	n1 := m.nodes["n1"]
	n1.record(t, map[string]any{"flags": "UF", "dst_addr": "10.244.2.1:81"})
	n1.record(t, map[string]any{"flags": "NR", "dst_dialled": "10.96.0.2:81"})
	n1.record(t, map[string]any{"flags": "UF", "dst_addr": "192.0.2.1:443", "security": "none"})
}

func TestOutsideIsPassedThrough(t *testing.T) {
	m := shop(t)
	m.serve("192.0.2.1:443", echo)
	c := m.pods["front-1"].app("192.0.2.1:443")
	if got, err := say(c, "hi"); err != nil || got != "hi" {
		t.Fatalf("%q %v", got, err)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"security": "none", "dst_addr": "192.0.2.1:443", "flags": "-"})
}

func TestHairpin(t *testing.T) {
	m := shop(t)
	m.serve("10.244.1.1:8080", echo)
	c := m.pods["front-1"].app("10.96.0.1:80")
	if got, err := say(c, "me"); err != nil || got != "me" {
		t.Fatalf("%q %v", got, err)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"security": "none", "dst_workload": "shop/front-1", "flags": "-"})
	living := m.pods["front-1"].app("10.96.0.1:80")
	if _, err := say(living, "me"); err != nil {
		t.Fatal(err)
	}
	m.apply(state.Delta{Policies: []*model.Policy{only("cart")}}) // not even the pod itself
	refused(t, living, time.Second)
	refused(t, m.pods["front-1"].app("10.96.0.1:80"), time.Second)
	m.nodes["n1"].record(t, map[string]any{"direction": "outbound", "dst_workload": "shop/front-1", "flags": "UAEX", "policy": "shop/only-cart"})
}

func TestPlaintextIn(t *testing.T) {
	m := shop(t)
	cart := m.pods["cart-1"]
	c := cart.plain("10.9.9.9:5000", "10.244.2.1:8080")
	if got, err := say(c, "hi"); err != nil || got != "hi" {
		t.Fatalf("%q %v", got, err)
	}
	if got := m.lastClient(); got != "10.9.9.9" {
		t.Errorf("the application saw %s", got)
	}
	c.Close()
	r := m.nodes["n2"].record(t, map[string]any{"direction": "inbound-plaintext", "security": "none", "flags": "-"})
	if r["src_identity"] != nil {
		t.Errorf("an identity that nobody proved: %v", r)
	}
	for _, dst := range []string{"10.244.2.1:15001", "10.244.2.1:15006", "10.244.2.1:15008", "127.0.0.1:8080", "10.244.2.2:8080"} {
		refused(t, cart.plain("10.9.9.9:5000", dst), time.Second)
	}
	refused(t, cart.plain("10.244.2.1:5000", "10.244.2.1:8080"), time.Second) // the pod to itself, from outside
}

// strict is a policy that refuses callers without an identity.
func strict() *model.Policy {
	return &model.Policy{Name: "strict", Namespace: "shop", Scope: model.ScopeNamespace, Action: model.Deny, Rules: []model.Rule{{
		Clauses: []model.Clause{{Matches: []model.Match{{NotPrincipals: []model.StringMatch{{Kind: model.Presence}}}}}}}}}
}

func TestStrict(t *testing.T) {
	m := shop(t)
	plain := m.pods["cart-1"].plain("10.9.9.9:5000", "10.244.2.1:8080")
	tunnelled := m.pods["front-1"].app("10.96.0.2:80")
	for _, c := range []*net.TCPConn{plain, tunnelled} {
		if _, err := say(c, "before"); err != nil {
			t.Fatal(err)
		}
	}
	m.apply(state.Delta{Policies: []*model.Policy{strict()}})
	refused(t, plain, time.Second) // a living connection is cut
	refused(t, m.pods["cart-1"].plain("10.9.9.9:5000", "10.244.2.1:8080"), time.Second)
	if _, err := say(tunnelled, "after"); err != nil {
		t.Errorf("an allowed connection was cut: %v", err)
	}
	r := m.nodes["n2"].record(t, map[string]any{"flags": "UAEX", "policy": "shop/strict"})
	if r["hint"] == nil {
		t.Errorf("no next step in %v", r)
	}
}

func only(sa string) *model.Policy {
	return &model.Policy{Name: "only-" + sa, Namespace: "shop", Scope: model.ScopeNamespace, Action: model.Allow, Rules: []model.Rule{{
		Clauses: []model.Clause{{Matches: []model.Match{{Principals: []model.StringMatch{{Value: "cluster.local/ns/shop/sa/" + sa}}}}}}}}}
}

func TestPolicyByIdentity(t *testing.T) {
	m := shop(t)
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hi"); err != nil {
		t.Fatal(err)
	}
	m.apply(state.Delta{Policies: []*model.Policy{only("payments")}})
	refused(t, c, time.Second)
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), time.Second)
	m.nodes["n1"].record(t, map[string]any{"direction": "outbound", "flags": "UAEX"})
	m.nodes["n2"].record(t, map[string]any{"direction": "inbound", "flags": "UAEX", "src_identity": frontID})
	m.apply(state.Delta{Policies: []*model.Policy{only("front")}, RemovedPolicies: []string{"shop/only-payments"}})
	c = m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hi"); err != nil {
		t.Errorf("allowed again, but: %v", err)
	}
}

func TestPolicyNotYetReceived(t *testing.T) {
	m := shop(t)
	cart := workload("n2", "cart-1", "10.244.2.1")
	cart.Policies = []string{"shop/unknown"}
	m.apply(state.Delta{Workloads: []*model.Workload{cart}})
	refused(t, m.pods["front-1"].app("10.244.2.1:8080"), time.Second)
	m.nodes["n2"].record(t, map[string]any{"flags": "UAEX", "policy": "shop/unknown"})
}

func TestNoConfigurationYet(t *testing.T) {
	m := newMesh(t)
	m.serve("192.0.2.1:80", echo)
	front := m.enrol("n1", "front-1", "10.244.1.1")
	refused(t, front.app("192.0.2.1:80"), time.Second)
	refused(t, front.plain("10.9.9.9:1", "10.244.1.1:8080"), time.Second)
	m.nodes["n1"].record(t, map[string]any{"cause": "no configuration yet", "flags": "NR"})
	if err := m.nodes["n1"].Ready(); err == nil {
		t.Error("ready without a configuration")
	}
}

func TestUnknownPodWaitsThenRefuses(t *testing.T) {
	m := shop(t)
	m.serve("192.0.2.1:80", echo)
	late := m.enrol("n1", "late-1", "10.244.1.9")
	refused(t, late.app("192.0.2.1:80"), 4*time.Second)
	c := late.app("192.0.2.1:80")
	m.apply(state.Delta{Workloads: []*model.Workload{workload("n1", "late-1", "10.244.1.9")}})
	if _, err := say(c, "hi"); err != nil {
		t.Errorf("the pod became known in time, but: %v", err)
	}
}

func TestServiceWithMissingWaypointIsRefused(t *testing.T) {
	m := shop(t)
	s := service("cart", "10.96.0.2", 8080)
	s.Waypoint = &model.Gateway{Namespace: "shop", Hostname: "waypoint.shop.svc.cluster.local", Port: 15008}
	m.apply(state.Delta{Services: []*model.Service{s}})
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), time.Second)
	if len(m.plainSeen) != 0 {
		t.Errorf("sent in plaintext to %v", m.plainSeen)
	}
}

func TestIPv6(t *testing.T) {
	m := shop(t)
	m.serve("[fd00:244:2::1]:8080", echo)
	c := m.pods["front-1"].app("[fd00:244:2::1]:8080")
	if _, err := say(c, "hi"); err != nil {
		t.Fatal(err)
	}
	if got := m.lastClient(); got != "fd00:244:1::1" {
		t.Errorf("the application saw %s", got)
	}
}
