package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

func (m *mesh) grpc(authority string) healthpb.HealthClient {
	m.t.Helper()
	cc, err := grpc.NewClient("passthrough:///cart:90", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return m.client.Dial(context.Background(), authority) }))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { cc.Close() })
	return healthpb.NewHealthClient(cc)
}

func TestGRPC(t *testing.T) {
	m := newMesh(t)
	for _, authority := range []string{"10.96.0.1:90", "10.96.0.1:80", "10.96.0.1:81"} {
		hc := m.grpc(authority)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if r, err := hc.Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.Status != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%s unary: %v %v", authority, r, err)
		}
		s, err := hc.Watch(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Recv(); err != nil {
			t.Errorf("%s stream: %v", authority, err)
		}
	}
}

func TestGRPCRoute(t *testing.T) {
	m := newMesh(t)
	r := m.route("calls",
		model.RouteRule{Matches: []model.RouteMatch{{PathKind: model.PathExact, Path: "/grpc.health.v1.Health/Check", Headers: []model.NameMatch{{Name: "go", Value: "yes"}}}}, Backends: []model.Backend{{Service: key, Port: 90, Weight: 1}}},
		model.RouteRule{Matches: []model.RouteMatch{{PathKind: model.PathExact, Path: "/grpc.health.v1.Health/Check"}}, Backends: []model.Backend{{Service: "shop/gone.shop.svc.cluster.local", Port: 90, Weight: 1}}})
	delete(m.snap.Routes, r.Key())
	r.Kind, r.Port = "GRPCRoute", 90
	m.snap.Routes[r.Key()] = r
	m.publish()
	hc := m.grpc("10.96.0.1:90")
	call := func(md ...string) codes.Code {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), md...), 5*time.Second)
		defer cancel()
		_, err := hc.Check(ctx, &healthpb.HealthCheckRequest{})
		return status.Code(err)
	}
	m.eventually("a missing backend is UNAVAILABLE", func() error {
		if c := call(); c != codes.Unavailable {
			return errors.New(c.String())
		}
		return nil
	})
	if c := call("go", "yes"); c != codes.OK {
		t.Errorf("matching call: %v", c)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := hc.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("a method without a route: %v, want Unimplemented", err)
	}
}

func TestWebSocket(t *testing.T) {
	m := newMesh(t)
	tun, err := m.client.Dial(context.Background(), vip)
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	fmt.Fprintf(tun, "GET /ws HTTP/1.1\r\nHost: cart\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: bGFi\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(tun)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v %v", res, err)
	}
	fmt.Fprint(tun, "ping through a websocket\n")
	if got, err := r.ReadString('\n'); err != nil || got != "ping through a websocket\n" {
		t.Errorf("echo: %q %v", got, err)
	}
}

func TestTCP(t *testing.T) {
	m := newMesh(t)
	for _, authority := range []string{"10.96.0.1:9000", "[fd00:96::1]:9000", "10.96.0.1:82"} {
		if strings.HasSuffix(authority, ":82") {
			// While it sniffs, Envoy takes a half close for the end: this client first waits for an answer.
			sniffed(t, m, authority)
			continue
		}
		tun, err := m.client.Dial(context.Background(), authority)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(tun, "hello")
		if err := tun.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(tun)
		if err != nil || string(all) != "220 cart-10\nhello" {
			t.Errorf("%s: %q %v", authority, all, err)
		}
		tun.Close()
	}
}

func sniffed(t *testing.T, m *mesh, authority string) {
	t.Helper()
	tun, err := m.client.Dial(context.Background(), authority)
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	fmt.Fprint(tun, "hello\n")
	r := bufio.NewReader(tun)
	for _, want := range []string{"220 cart-10\n", "hello\n"} {
		if got, err := r.ReadString('\n'); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", authority, got, err, want)
		}
	}
	if err := tun.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("%s: after the half close %q %v", authority, rest, err)
	}
}

// HTTP on a port of unknown protocol is found to be HTTP; both addresses of a service are served.
func TestAddressesAndSniffing(t *testing.T) {
	m := newMesh(t)
	for _, authority := range []string{"[fd00:96::1]:80", "10.96.0.1:81", "[fd00:96::1]:81"} {
		e := m.statusIs(200, m.client.HTTP(t, authority), "GET", "/")
		if e.Headers.Get("X-Forwarded-Client-Cert") != "By="+waypoint+";URI="+frontend {
			t.Errorf("%s was not read as HTTP: %v", authority, e.Headers)
		}
	}
}

func TestHTTP2ToTheApplication(t *testing.T) {
	m := newMesh(t)
	if e := m.statusIs(200, m.http, "GET", "/"); e.Proto != "HTTP/1.1" {
		t.Errorf("HTTP/1.1 arrives as %s", e.Proto)
	}
	h2 := &http.Client{Transport: h2c(m.client, vip)}
	if e := m.statusIs(200, h2, "GET", "/"); e.Proto != "HTTP/2.0" {
		t.Errorf("HTTP/2 arrives as %s", e.Proto)
	}
}

func TestEndpoints(t *testing.T) {
	m := newMesh(t)
	m.service("none", "10.96.0.3")
	m.service("plain", "10.96.0.4")
	m.pod("plain", "")
	m.service("sick", "10.96.0.5")
	sick := m.pod("sick", pods)
	m.snap.Workloads.Get("test//Pod/shop/" + sick.Name).Unhealthy = true
	m.service("liar", "10.96.0.6")
	m.pod("liar", "spiffe://cluster.local/ns/shop/sa/somebody-else")
	m.service("down", "10.96.0.7")
	m.pod("down", pods).StopTunnel()
	m.publish()
	m.statusIs(503, m.client.HTTP(t, "10.96.0.3:80"), "GET", "/")
	if e := m.statusIs(200, m.client.HTTP(t, "10.96.0.4:80"), "GET", "/"); !strings.HasPrefix(e.Pod, "plain") {
		t.Errorf("answered by %s", e.Pod)
	}
	if got, err := banner(m.client, "10.96.0.4:9000"); err != nil || !strings.HasPrefix(got, "220 plain") {
		t.Errorf("TCP to a plain endpoint: %q %v", got, err)
	}
	m.statusIs(503, m.client.HTTP(t, "10.96.0.5:80"), "GET", "/")
	m.statusIs(503, m.client.HTTP(t, "10.96.0.6:80"), "GET", "/")
	if n := m.podNamed("liar-13").Tunnels.Load(); n != 0 {
		t.Errorf("%d tunnels to a pod with the wrong identity", n)
	}
	m.statusIs(503, m.client.HTTP(t, "10.96.0.7:80"), "GET", "/")
	if got := m.podNamed("cart-10").Peer.Load(); got != waypoint {
		t.Errorf("pods see the peer %v", got)
	}
}

func TestWorkloadAddresses(t *testing.T) {
	m := newMesh(t)
	pod := m.podNamed("cart-10")
	m.snap.Workloads.Get("test//Pod/shop/cart-10").Waypoint = &model.Gateway{Namespace: "shop", Hostname: "wp.shop.svc.cluster.local"}
	m.publish()
	m.statusIs(200, m.client.HTTP(t, netip.AddrPortFrom(pod.Addr, testmesh.HTTPPort).String()), "GET", "/")
	if got, err := banner(m.client, netip.AddrPortFrom(pod.Addr, testmesh.TCPPort).String()); err != nil || got != "220 cart-10\n" {
		t.Errorf("known TCP port: %q %v", got, err)
	}
	ln, err := net.Listen("tcp", netip.AddrPortFrom(pod.Addr, 7777).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "any port\n")
			c.Close()
		}
	}()
	if got, err := banner(m.client, netip.AddrPortFrom(pod.Addr, 7777).String()); err != nil || got != "any port\n" {
		t.Errorf("a port that no service names: %q %v", got, err)
	}
}

func TestRefused(t *testing.T) {
	m := newMesh(t)
	stranger := testmesh.NewCA(t)
	at := netip.AddrPortFrom(m.addr(1), 15008).String()
	dial := func(c *testmesh.Client) error {
		_, err := banner(c, "10.96.0.1:9000")
		return err
	}
	good := m.ca.ClientTLS(m.ca.Pair(frontend), waypoint)
	for name, err := range map[string]error{
		"foreign CA":         dial(testmesh.NewClient(t, m.ca, stranger.Pair(frontend), at, waypoint)),
		"other trust domain": dial(m.caller("spiffe://evil.example/ns/shop/sa/frontend")),
		"expired":            dial(testmesh.NewClient(t, m.ca, m.ca.Expired(frontend), at, waypoint)),
		"no certificate":     dial(testmesh.NewClient(t, m.ca, tls.Certificate{}, at, waypoint)),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if c, err := tls.Dial("tcp", at, old); err == nil {
		c.Close()
		t.Error("TLS 1.2 is accepted")
	}
	if c, err := net.Dial("tcp", at); err == nil {
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		b, _ := io.ReadAll(c)
		if strings.Contains(string(b), "HTTP/1.1 2") {
			t.Errorf("plaintext was answered %q", b)
		}
		c.Close()
	}
	var refused *testmesh.RefusedError
	for _, authority := range []string{"10.99.9.9:80", "10.96.0.1:12345", "127.0.0.1:9901", "localhost:80"} {
		if _, err := m.client.Dial(context.Background(), authority); !errors.As(err, &refused) || refused.Code != 404 {
			t.Errorf("CONNECT %s: %v, want 404", authority, err)
		}
	}
	h2 := &http.Client{Transport: h2tls(good)}
	if res, err := h2.Get("https://" + at + "/"); err != nil || res.StatusCode != 404 {
		t.Errorf("GET on 15008: %v %v, want 404", res, err)
	}
}
