package ztunnel_test

import (
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/state"
)

// carried is the shop with two carts, of which nothing listens on the second's node; both are equally near.
func carried(t *testing.T, how model.Carriage) *mesh {
	t.Helper()
	m := shop(t)
	m.pod("10.244.1.7")
	first, second := workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1"), workload("n1", "cart-2", "10.244.1.7")
	s := service("cart", "10.96.0.2", 8080, first, second)
	s.Carriage = []model.Carriage{how}
	m.apply(state.Delta{Workloads: []*model.Workload{first, second}, Services: []*model.Service{s}})
	return m
}

// The endpoint that cannot be reached is asked until it is ejected, and then no more.
func TestUnreachableEndpointIsEjected(t *testing.T) {
	m := carried(t, model.Carriage{Balance: &model.Balance{Algorithm: model.RoundRobin},
		Outliers: &model.Outliers{ConnectFailures: 2, BaseEjection: time.Hour, MaxEjection: time.Hour, MaxPercent: 50}})
	for i := range 12 {
		c := m.pods["front-1"].app("10.96.0.2:80")
		if got, err := say(c, "hello"); err != nil || got != "hello" {
			t.Fatalf("connection %d: %q %v", i, got, err)
		}
		c.Close()
	}
	if n := m.retries(); n != 2 {
		t.Errorf("%v connections met the endpoint that is ejected after two", n)
	}
	if n := metric(t, m.nodes["n1"], "weft_endpoint_ejections_total"); n != 1 {
		t.Errorf("%v ejections counted", n)
	}
	if n := metric(t, m.nodes["n1"], "weft_endpoints_ejected"); n != 1 {
		t.Errorf("%v ejected now", n)
	}
}

// An application that does not listen is an endpoint that cannot be connected to, too.
func TestClosedPortIsEjected(t *testing.T) {
	m := carried(t, model.Carriage{Balance: &model.Balance{Algorithm: model.RoundRobin},
		Outliers: &model.Outliers{ConnectFailures: 1, BaseEjection: time.Hour, MaxEjection: time.Hour, MaxPercent: 50}})
	m.enrol("n1", "cart-2", "10.244.1.7") // and nothing listens in it
	failed := 0
	for range 6 {
		c := m.pods["front-1"].app("10.96.0.2:80")
		if _, err := say(c, "hello"); err != nil {
			failed++
		}
		c.Close()
	}
	if failed != 1 {
		t.Errorf("%d of 6 connections failed, want the one that found it out", failed)
	}
}

func TestServiceIsFull(t *testing.T) {
	for name, how := range map[string]model.Carriage{
		"maxConnections":            {Limits: &model.ConnectionLimits{Connections: new(uint32(2))}},
		"maxConnectionsPerEndpoint": {Limits: &model.ConnectionLimits{PerEndpoint: new(uint32(2))}},
	} {
		t.Run(name, func(t *testing.T) {
			m := shop(t)
			cart := workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1")
			s := service("cart", "10.96.0.2", 8080, cart)
			s.Carriage = []model.Carriage{how}
			m.apply(state.Delta{Workloads: []*model.Workload{cart}, Services: []*model.Service{s}})
			first := m.pods["front-1"].app("10.96.0.2:80")
			second := m.pods["front-1"].app("10.96.0.2:80")
			if _, err := say(first, "hello"); err != nil {
				t.Fatal(err)
			}
			if _, err := say(second, "hello"); err != nil {
				t.Fatal(err)
			}
			refused(t, m.pods["front-1"].app("10.96.0.2:80"), 2*time.Second)
			r := m.nodes["n1"].record(t, map[string]any{"flags": "UO", "dst_service": "cart.shop.svc.cluster.local"})
			if hint, _ := r["hint"].(string); hint == "" {
				t.Errorf("%v", r)
			}
			first.Close()
			until(t, "there is room again", func() bool { return m.nodes["n1"].Flows.Len() == 1 })
			if _, err := say(m.pods["front-1"].app("10.96.0.2:80"), "hello"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIdleConnectionIsCut(t *testing.T) {
	m := shop(t)
	s := service("cart", "10.96.0.2", 8080)
	s.Carriage = []model.Carriage{{Idle: 3 * time.Second, Keepalive: &model.Keepalive{Time: time.Minute, Interval: time.Second, Probes: 3}}}
	m.apply(state.Delta{Services: []*model.Service{s}})
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	refused(t, c, 10*time.Second)
	m.nodes["n1"].record(t, map[string]any{"flags": "SI", "cause": "nothing moved for 3s"})
}
