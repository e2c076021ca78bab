package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

// An endpoint that fails again and again is given a rest, and comes back after it.
func TestTrafficOutliers(t *testing.T) {
	m := newMesh(t)
	bad := m.pod("cart", pods)
	bad.Flaky.Store(1 << 40)
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(0), Outliers: &model.Outliers{
		ServerErrors: 3, Interval: 50 * time.Millisecond, BaseEjection: time.Hour, MaxEjection: time.Hour, MaxPercent: 50,
	}})
	m.ejected("/flaky")
	m.eventually("with the bad one out all goes well", func() error { // the workers hear of it later
		for range 20 {
			if code, _, _, err := ask(m.http, "GET", "/flaky"); err != nil || code != 200 {
				return fmt.Errorf("%d %w", code, err)
			}
		}
		return nil
	})
	// The good one may not be ejected as well, half is the most.
	m.podNamed("cart-10").Flaky.Store(10)
	for range 10 {
		if code, _, _, err := ask(m.http, "GET", "/flaky"); err != nil || code != 503 {
			t.Errorf("%d %v", code, err)
		}
	}
	m.statusIs(200, m.http, "GET", "/flaky")
	// After a short rest the bad one is back.
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(0), Outliers: &model.Outliers{
		ServerErrors: 2, Interval: 50 * time.Millisecond, BaseEjection: 2 * time.Second, MaxEjection: 2 * time.Second, MaxPercent: 50,
	}})
	m.eventually("the policy is there", func() error { return m.says("the bad one is in again", bad) })
	m.ejected("/flaky")
	bad.Flaky.Store(0)
	m.eventually("the bad one is back", func() error { return m.says("after its rest", bad) })
}

// ejected asks until one endpoint is out.
func (m *mesh) ejected(path string) {
	m.t.Helper()
	m.eventually("an endpoint is ejected", func() error {
		code, _, _, err := ask(m.http, "GET", path)
		if n := m.stat("cluster." + key + "_80.outlier_detection.ejections_active"); n != 1 {
			return fmt.Errorf("%d are; answered %d %w", n, code, err)
		}
		return nil
	})
}

// says that a pod is among those that answer.
func (m *mesh) says(when string, pod *testmesh.Pod) error {
	if by := m.spread(20, m.http, "/"); by[pod.Name] == 0 {
		return fmt.Errorf("%s: %v", when, by)
	}
	return nil
}

// A tunnel that fails counts as an error of its endpoint.
func TestTrafficOutlierTunnels(t *testing.T) {
	m := newMesh(t)
	dead := m.pod("cart", pods)
	dead.StopTunnel()
	m.traffic("p", cartService, &model.TrafficPolicy{Retries: getOnly(0), Outliers: &model.Outliers{
		ConnectFailures: 2, Interval: 50 * time.Millisecond, BaseEjection: time.Hour, MaxEjection: time.Hour, MaxPercent: 50,
	}})
	m.ejected("/")
	m.eventually("the other one serves all", func() error {
		if by := m.spread(20, m.http, "/"); by["cart-10"] != 20 {
			return fmt.Errorf("%v", by)
		}
		return nil
	})
}

// mute accepts connections at a pod's HBONE port and never says a word.
func (m *mesh) mute(service string) {
	m.hosts++
	at := netip.AddrPortFrom(m.addr(m.hosts), 15008)
	ln, err := net.Listen("tcp", at.String())
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	m.workload(&testmesh.Pod{Name: fmt.Sprintf("%s-mute", service), Addr: at.Addr()}, service, pods)
}

// How long an endpoint may take to be reached is the tunnel's matter.
func TestTrafficConnectTimeout(t *testing.T) {
	m := newMesh(t)
	m.service("dumb", "10.96.0.7")
	m.mute("dumb")
	m.traffic("p", model.Target{Service: "shop/dumb.shop.svc.cluster.local"}, &model.TrafficPolicy{
		Timeouts: &model.Timeouts{Connect: 100 * time.Millisecond}, Retries: getOnly(0),
		Keepalive: &model.Keepalive{Time: time.Minute, Interval: 10 * time.Second, Probes: 3},
	})
	dumb := m.client.HTTP(t, "10.96.0.7:80")
	m.eventually("the tunnel's own timeout ends it", func() error {
		if code, _, _, err := ask(dumb, "GET", "/"); err != nil || code != 503 {
			return fmt.Errorf("%d %w", code, err)
		}
		if n := m.stat("cluster.tunnel~100ms~1m0s~10s~3.upstream_cx_connect_timeout"); n == 0 {
			return fmt.Errorf("no connection timed out")
		}
		return nil
	})
	m.statusIs(200, m.http, "GET", "/") // others have theirs
	if n := m.stat("cluster.tunnel.upstream_cx_connect_timeout"); n != 0 {
		t.Errorf("%d connections of others timed out", n)
	}
	// Keepalive and a connect timeout of its own let a pod that answers serve.
	m.traffic("q", cartService, &model.TrafficPolicy{Timeouts: &model.Timeouts{Connect: 3 * time.Second}, Keepalive: &model.Keepalive{Time: time.Minute, Interval: 10 * time.Second, Probes: 3}})
	m.eventually("cart's tunnels have a cluster of their own", func() error {
		if code, _, _, err := ask(m.http, "GET", "/"); err != nil || code != 200 {
			return fmt.Errorf("%d %w", code, err)
		}
		if n := m.stat("cluster.tunnel~3s~1m0s~10s~3.upstream_cx_total"); n == 0 {
			return fmt.Errorf("not used")
		}
		return nil
	})
}

// What is spoken to the application, and for how long on one connection.
func TestTrafficProtocol(t *testing.T) {
	m := newMesh(t)
	proto := func(want string) {
		t.Helper()
		m.eventually("the application is spoken "+want+" to", func() error {
			if _, e, _, err := ask(m.http, "GET", "/"); err != nil || e.Proto != want {
				return fmt.Errorf("%s %w", e.Proto, err)
			}
			return nil
		})
	}
	proto("HTTP/1.1")
	m.traffic("p", cartService, &model.TrafficPolicy{Protocol: model.AppHTTP2, HTTP2: &model.HTTP2{Streams: 1, StreamWindow: 65535, ConnectionWindow: 65535}})
	proto("HTTP/2.0")
	m.traffic("p", cartService, &model.TrafficPolicy{Protocol: model.AppHTTP, Limits: &model.ConnectionLimits{RequestsPerConnection: 1}})
	proto("HTTP/1.1")
	before := m.pods[0].Tunnels.Load()
	for range 5 {
		m.statusIs(200, m.http, "GET", "/")
	}
	m.eventually("each request has a connection of its own", func() error {
		if n := m.pods[0].Tunnels.Load() - before; n < 4 {
			return fmt.Errorf("%d tunnels for 5 requests", n)
		}
		return nil
	})
}

// TCP connections are hashed and restricted as requests are.
func TestTrafficTCP(t *testing.T) {
	m := newMesh(t)
	m.snap.Workloads.Get("test//Pod/shop/cart-10").Labels = map[string]string{"version": "v1"}
	v2 := m.pod("cart", pods)
	m.snap.Workloads.Get("test//Pod/shop/" + v2.Name).Labels = map[string]string{"version": "v2"}
	m.traffic("p", model.Target{Service: key, Port: 9000}, &model.TrafficPolicy{Subset: map[string]string{"version": "v2"}})
	m.eventually("connections go to the subset", func() error {
		for range 10 {
			banner, err := m.banner("10.96.0.1:9000")
			if err != nil {
				return err
			}
			if banner != "220 "+v2.Name+"\n" {
				return fmt.Errorf("%q", banner)
			}
		}
		return nil
	})
	for range 3 {
		m.pod("cart", pods)
	}
	m.traffic("p", model.Target{Service: key, Port: 9000}, &model.TrafficPolicy{Balance: &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{Identity: true}}})
	m.eventually("connections of one caller meet", func() error {
		first := ""
		for range 12 {
			banner, err := m.banner("10.96.0.1:9000")
			if err != nil {
				return err
			}
			if first == "" {
				first = banner
			}
			if banner != first {
				return fmt.Errorf("%q and %q", first, banner)
			}
		}
		return nil
	})
}

// banner is what a TCP server says first.
func (m *mesh) banner(authority string) (string, error) {
	tun, err := m.client.Dial(m.t.Context(), authority)
	if err != nil {
		return "", err
	}
	defer tun.Close()
	buf := make([]byte, 100)
	n, err := tun.Read(buf)
	return string(buf[:n]), err
}
