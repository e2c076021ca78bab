package ztunnel_test

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/state"
)

// twoCarts is the shop with a second cart on the client's own node, which is preferred; cart-1 stays behind it.
func twoCarts(t *testing.T, edit func(second *model.Workload)) *mesh {
	t.Helper()
	m := shop(t)
	m.serve("10.244.1.7:8080", echo)
	first, second := workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1"), workload("n1", "cart-2", "10.244.1.7")
	s := service("cart", "10.96.0.2", 8080, first, second)
	s.Preference = []model.Scope{model.ScopeNode}
	if edit != nil {
		edit(second)
	}
	m.apply(state.Delta{Workloads: []*model.Workload{first, second}, Services: []*model.Service{s}})
	return m
}

func (m *mesh) retries() float64 { return metric(m.t, m.nodes["n1"], "weft_outbound_retries_total") }

// An endpoint is in the configuration, but its node does not answer, or answers as somebody else.
func TestAnotherEndpointIsTried(t *testing.T) {
	for name, prepare := range map[string]func(*mesh){
		"nothing listens": func(m *mesh) { m.pod("10.244.1.7") },
		"no such host":    func(*mesh) {},
		"no answer": func(m *mesh) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.silent = netip.MustParseAddr("10.244.1.7")
		},
		"somebody else": func(m *mesh) { m.foreignAt("10.244.1.7", "front") },
	} {
		t.Run(name, func(t *testing.T) {
			m := twoCarts(t, nil)
			prepare(m)
			c := m.pods["front-1"].app("10.96.0.2:80")
			if got, err := say(c, "hello"); err != nil || got != "hello" {
				t.Fatalf("%q %v", got, err)
			}
			c.Close()
			m.nodes["n1"].record(t, map[string]any{"flags": "-", "dst_workload": "shop/cart-1", "security": "mutual_tls", "retries": 1.0,
				"dst_addr": "10.244.2.1:8080", "dst_identity": cartID})
			if n := m.retries(); n != 1 {
				t.Errorf("%v retries counted", n)
			}
			if len(m.plainSeen) != 0 {
				t.Errorf("sent in plaintext to %v", m.plainSeen)
			}
		})
	}
}

// The near endpoint takes connections when it can: nothing is tried twice without need.
func TestPreferredEndpointIsTakenFirst(t *testing.T) {
	m := twoCarts(t, nil)
	m.enrol("n1", "cart-2", "10.244.1.7")
	c := m.pods["front-1"].app("10.96.0.2:80")
	if got, err := say(c, "hello"); err != nil || got != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"flags": "-", "dst_workload": "shop/cart-2", "direction": "outbound"})
	if n := m.retries(); n != 0 {
		t.Errorf("%v retries counted", n)
	}
}

// A policy's refusal is final, and so is a port that nothing listens on: as without a mesh.
func TestAnswersAreNotTriedAgain(t *testing.T) {
	t.Run("policy", func(t *testing.T) {
		m := twoCarts(t, func(w *model.Workload) { w.Policies = []string{"shop/closed"} })
		m.apply(state.Delta{Policies: []*model.Policy{{Name: "closed", Namespace: "shop", Scope: model.ScopeSelector, Action: model.Deny, Rules: []model.Rule{{}}}}})
		m.enrol("n1", "cart-2", "10.244.1.7")
		refused(t, m.pods["front-1"].app("10.96.0.2:80"), 2*time.Second)
		m.nodes["n1"].record(t, map[string]any{"flags": "UAEX", "dst_workload": "shop/cart-2", "direction": "outbound"})
		if n := m.retries(); n != 0 {
			t.Errorf("%v retries counted", n)
		}
	})
	t.Run("closed port", func(t *testing.T) {
		m := twoCarts(t, nil)
		m.enrol("n1", "cart-2", "10.244.1.7")
		m.mu.Lock()
		delete(m.apps, netip.MustParseAddrPort("10.244.1.7:8080"))
		m.mu.Unlock()
		refused(t, m.pods["front-1"].app("10.96.0.2:80"), 2*time.Second)
		if n := m.retries(); n != 0 {
			t.Errorf("%v retries counted", n)
		}
	})
}

// With every endpoint gone the connection is refused, after a bounded number of tries; one that was named
// by its own address is tried once.
func TestNoEndpointAnswers(t *testing.T) {
	m := twoCarts(t, nil)
	m.nodes["n2"].Pods.Del("uid-cart-1")
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), 5*time.Second)
	m.nodes["n1"].record(t, map[string]any{"flags": "UF", "retries": 1.0})
	refused(t, m.pods["front-1"].app("10.244.1.7:8080"), 5*time.Second)
	if n := m.retries(); n != 1 {
		t.Errorf("%v retries counted", n)
	}
}

// Connections that stay go to the endpoint that has fewer of them.
func TestLivingConnectionsAreSpread(t *testing.T) {
	m := twoCarts(t, nil)
	first, second := workload("n2", "cart-1", "10.244.2.1"), workload("n1", "cart-2", "10.244.1.7")
	m.apply(state.Delta{Workloads: []*model.Workload{first, second}, Services: []*model.Service{service("cart", "10.96.0.2", 8080, first, second)}})
	m.enrol("n1", "cart-2", "10.244.1.7")
	for i := range 10 {
		if _, err := say(m.pods["front-1"].app("10.96.0.2:80"), "hello"); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	if n := len(m.nodes["n2"].Flows.Views()); n != 5 {
		t.Errorf("cart-1 has %d of 10 connections", n)
	}
}

// A node's ztunnel stops in good order while connections come in all the time: none of them fails, for
// those that meet it no more go to the other endpoint, and one that lives there lives on.
func TestDrainingNodeLosesNothing(t *testing.T) {
	m := twoCarts(t, nil)
	first, second := workload("n2", "cart-1", "10.244.2.1"), workload("n1", "cart-2", "10.244.1.7")
	m.apply(state.Delta{Workloads: []*model.Workload{first, second}, Services: []*model.Service{service("cart", "10.96.0.2", 8080, first, second)}})
	m.enrol("n1", "cart-2", "10.244.1.7")
	living := m.pods["front-1"].app("10.244.2.1:8080")
	if _, err := say(living, "hello"); err != nil {
		t.Fatal(err)
	}
	var made atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c := m.pods["front-1"].app("10.96.0.2:80")
				if got, err := say(c, "hello"); err != nil || got != "hello" {
					t.Errorf("a connection failed: %q %v", got, err)
				}
				c.Close()
				made.Add(1)
			}
		})
	}
	until(t, "some connections", func() bool { return made.Load() > 50 })
	ctx, cut := context.WithCancel(t.Context())
	drained := make(chan struct{})
	go func() { defer close(drained); m.nodes["n2"].Drain(ctx) }()
	until(t, "connections have been led elsewhere", func() bool { return m.retries() > 20 })
	close(stop)
	wg.Wait()
	if got, err := say(living, "still here"); err != nil || got != "still here" {
		t.Errorf("a living connection was cut: %q %v", got, err)
	}
	cut()
	<-drained
	refused(t, living, time.Second)
}
