package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

const (
	vipTCP  = "10.96.0.1:9000"
	vipTLS  = "10.96.0.1:443"
	tlsPort = 9443
)

// l4Route adds a route of connections for one port of cart.
func (m *mesh) l4Route(kind, namespace, name string, port uint16, hosts []string, backends ...model.Backend) *model.Route {
	r := &model.Route{Namespace: namespace, Name: name, Kind: kind, Service: key, Port: port, Hostnames: hosts, Rules: []model.RouteRule{{Backends: backends}}}
	m.snap.Routes[r.Key()] = r
	return r
}

func toPort(service string, port uint16, weight uint32) model.Backend {
	return model.Backend{Service: service, Port: port, Weight: weight}
}

// greeter opens a TCP connection and says which service's pod greets.
func greeter(c *testmesh.Client) string {
	tun, err := c.Dial(context.Background(), vipTCP)
	if err != nil {
		return "refused"
	}
	defer tun.Close()
	buf := make([]byte, 64)
	n, err := tun.Read(buf)
	if err != nil {
		return "closed"
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(buf[:n]), "220 "), "\n")
}

// TestTCPRoute: weights, a share that nobody serves, a caller's own route, and back.
func TestTCPRoute(t *testing.T) {
	m := withV2(t)
	r := m.l4Route("TCPRoute", "shop", "split", 9000, nil, toPort(key, 9000, 80), toPort(keyV2, 9000, 20))
	m.publish()
	m.eventually("v2 greets", func() error { return want(greeter(m.client), "cart-v2-11") })
	count := map[string]int{}
	for range 400 {
		count[greeter(m.client)]++
	}
	if v2 := count["cart-v2-11"]; v2 < 40 || v2 > 130 || v2+count["cart-10"] != 400 {
		t.Errorf("80/20 of 400 connections: %v", count)
	}
	r = clone(r)
	r.Rules[0].Backends = []model.Backend{toPort("shop/gone.shop.svc.cluster.local", 9000, 1)}
	m.snap.Routes[r.Key()] = r
	m.publish()
	m.eventually("a missing backend refuses", func() error { return want(greeter(m.client), "refused") })
	foreigner := m.caller(other)
	m.l4Route("TCPRoute", "other", "mine", 9000, nil, toPort(keyV2, 9000, 1))
	m.publish()
	m.eventually("the caller's own route", func() error { return want(greeter(foreigner), "cart-v2-11") })
	if got := greeter(m.client); got != "refused" {
		t.Errorf("a consumer's route is not for others, who got %q", got)
	}
	clear(m.snap.Routes)
	m.publish()
	m.eventually("without routes the service itself", func() error { return want(greeter(m.client), "cart-10") })
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// Policies of a backend are enforced on the way to it.
func TestTCPRouteBackendPolicy(t *testing.T) {
	m := withV2By(t, oneWorker)
	for _, w := range m.snap.Workloads.All() {
		if strings.HasPrefix(w.Name, "cart-v2") {
			m.snap.Bindings.Set(w.UID, []string{"shop/v2-only"})
		}
	}
	m.snap.L7Policies["shop/v2-only"] = &model.L7Policy{Namespace: "shop", Name: "v2-only", Workloads: true, Action: model.Allow,
		Rules: []model.L7Rule{{From: []model.Match{{Namespaces: []model.StringMatch{{Value: "other"}}}}}}}
	m.l4Route("TCPRoute", "shop", "to-v2", 9000, nil, toPort(keyV2, 9000, 1))
	m.publish()
	m.eventually("other is let in", func() error { return want(greeter(m.caller(other)), "cart-v2-11") })
	if got := greeter(m.client); got != "refused" {
		t.Errorf("v2's pods admit namespace other alone, but frontend got %q", got)
	}
}

func want(got, expected string) error {
	if got != expected {
		return fmt.Errorf("got %s, want %s", got, expected)
	}
	return nil
}

func clone(r *model.Route) *model.Route {
	out := *r
	out.Rules = append([]model.RouteRule(nil), r.Rules...)
	return &out
}

// withTLS gives every service of the mesh a port 443 behind which each pod ends the TLS itself.
func withTLS(t *testing.T) *mesh {
	m := withV2(t)
	for _, s := range m.snap.Services {
		s.Ports = append(s.Ports, model.Port{ServicePort: 443, TargetPort: tlsPort, App: model.AppTLS})
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	for _, w := range m.snap.Workloads.All() {
		for s := range w.Services {
			w.Services[s] = m.snap.Services[s].Ports
		}
		ln, err := tls.Listen("tcp", netip.AddrPortFrom(w.Addresses[0], tlsPort).String(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go greet(ln, w.Name)
	}
	return m
}

func greet(ln net.Listener, name string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.WriteString(c, name+"\n")
			_, _ = io.Copy(c, c)
		}()
	}
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// hello makes a TLS handshake for a server name ("" none) through a waypoint and says whose pod answers.
func hello(c *testmesh.Client, name string) string {
	tun, err := c.Dial(context.Background(), vipTLS)
	if err != nil {
		return "refused"
	}
	defer tun.Close()
	conn := tls.Client(tun, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // whose certificate it is makes no difference here
	if err := conn.Handshake(); err != nil {
		return "closed"
	}
	buf := make([]byte, 64)
	n, err := conn.Read(buf)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(buf[:n]))
}

// TestTLSRoute: names, wildcards, what no route is for, TCPRoute for the rest, a caller's own, a backend's policy.
func TestTLSRoute(t *testing.T) {
	m := withTLS(t)
	m.publish()
	m.eventually("without routes the service itself", func() error { return want(hello(m.client, "a.example"), "cart-10") })
	m.l4Route("TLSRoute", "shop", "exact", 443, []string{"a.example"}, toPort(keyV2, 443, 1))
	m.l4Route("TLSRoute", "shop", "wild", 443, []string{"*.wild.example"}, toPort(key, 443, 1))
	m.l4Route("TLSRoute", "shop", "narrow", 443, []string{"b.wild.example"}, toPort(keyV2, 443, 1))
	m.publish()
	m.eventually("the route acts", func() error { return want(hello(m.client, "a.example"), "cart-v2-11") })
	for name, expected := range map[string]string{
		"A.Example": "cart-v2-11", "x.wild.example": "cart-10", "y.x.wild.example": "cart-10", "b.wild.example": "cart-v2-11",
		"wild.example": "closed", "other.example": "closed", "": "closed",
	} {
		if got := hello(m.client, name); got != expected {
			t.Errorf("server name %q led to %s, want %s", name, got, expected)
		}
	}
	m.l4Route("TCPRoute", "shop", "rest", 443, nil, toPort(key, 443, 1))
	m.publish()
	m.eventually("a TCPRoute takes the rest", func() error { return want(hello(m.client, "other.example"), "cart-10") })
	m.l4Route("TLSRoute", "other", "mine", 443, []string{"b.wild.example"}, toPort(key, 443, 1))
	m.publish()
	foreigner := m.caller(other)
	m.eventually("the caller's own route", func() error { return want(hello(foreigner, "b.wild.example"), "cart-10") })
	if got := hello(m.client, "b.wild.example"); got != "cart-v2-11" {
		t.Errorf("others keep their route, got %s", got)
	}
	if got := hello(foreigner, "a.example"); got != "closed" {
		t.Errorf("a caller with routes of its own has no others, got %s", got)
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// TestTLSRouteWeights: connections to one name are shared out.
func TestTLSRouteWeights(t *testing.T) {
	m := withTLS(t)
	m.l4Route("TLSRoute", "shop", "split", 443, []string{"a.example"}, toPort(key, 443, 70), toPort(keyV2, 443, 30))
	m.publish()
	m.eventually("v2 answers", func() error { return want(hello(m.client, "a.example"), "cart-v2-11") })
	count := map[string]int{}
	for range 400 {
		count[hello(m.client, "a.example")]++
	}
	if v2 := count["cart-v2-11"]; v2 < 80 || v2 > 165 || v2+count["cart-10"] != 400 {
		t.Errorf("70/30 of 400 connections: %v", count)
	}
}

// TestTLSRoutePolicy: who may call is asked of the caller, not of the waypoint's inner hops.
func TestTLSRoutePolicy(t *testing.T) {
	m := withTLS(t)
	m.snap.L7Policies["shop/cart"] = &model.L7Policy{Namespace: "shop", Name: "cart", Service: key, Action: model.Deny,
		Rules: []model.L7Rule{{From: []model.Match{{Namespaces: []model.StringMatch{{Value: "other"}}}}}}}
	m.l4Route("TLSRoute", "shop", "split", 443, []string{"a.example"}, toPort(key, 443, 1), toPort(keyV2, 443, 1))
	m.publish()
	m.eventually("both serve", func() error { return want(hello(m.client, "a.example"), "cart-v2-11") })
	foreigner := m.caller(other)
	for range 6 {
		if got := hello(foreigner, "a.example"); got != "closed" {
			t.Fatalf("the denied caller got %s", got)
		}
		if got := hello(m.client, "a.example"); !strings.HasPrefix(got, "cart") {
			t.Fatalf("the other caller got %s", got)
		}
	}
}

// A port begins to be routed by name, and routes change, without a refused connection in between.
func TestTLSRouteChanges(t *testing.T) {
	m := withTLS(t)
	m.publish()
	m.eventually("the service answers", func() error { return want(hello(m.client, "a.example"), "cart-10") })
	stop, failed := make(chan struct{}), make(chan map[string]int)
	go func() {
		bad := map[string]int{}
		for {
			select {
			case <-stop:
				failed <- bad
				return
			default:
				if got := hello(m.client, "a.example"); !strings.HasPrefix(got, "cart") {
					bad[got]++
				}
			}
		}
	}()
	for range 5 {
		m.l4Route("TLSRoute", "shop", "flip", 443, []string{"a.example"}, toPort(keyV2, 443, 1))
		m.publish()
		m.eventually("v2", func() error { return want(hello(m.client, "a.example"), "cart-v2-11") })
		m.l4Route("TLSRoute", "shop", "flip", 443, []string{"*.example"}, toPort(key, 443, 1))
		m.publish()
		m.eventually("v1", func() error { return want(hello(m.client, "a.example"), "cart-10") })
	}
	close(stop)
	if bad := <-failed; len(bad) > 0 {
		t.Errorf("connections failed while routes changed: %v", bad)
	}
	clear(m.snap.Routes)
	m.publish()
	m.eventually("any name leads to the service again", func() error { return want(hello(m.client, "b.other"), "cart-10") })
}
