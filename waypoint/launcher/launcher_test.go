package launcher

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
)

const (
	self   = "spiffe://cluster.local/ns/shop/sa/wp"
	caller = "spiffe://cluster.local/ns/shop/sa/frontend"
	token  = "a-token"
)

// authority signs CSRs with the test's root, as the controller's CA would.
type authority struct {
	ca     *testmesh.CA
	mu     sync.Mutex // protects issued
	issued int
}

func (a *authority) Issue(_ context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.issued++
	block, _ := pem.Decode(csr)
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	return []string{string(a.ca.Sign(id.String(), req.PublicKey, ttl)), string(a.ca.RootPEM())}, nil
}

func (a *authority) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issued
}

// controller is an ADS server over TLS that wants the token.
type controller struct {
	addr  string
	cache cache.SnapshotCache
	mu    sync.Mutex // protects nodes
	nodes []string
}

func startController(t *testing.T, ca *testmesh.CA, addr netip.Addr) *controller {
	t.Helper()
	c := &controller{cache: cache.NewSnapshotCache(true, cache.IDHash{}, nil)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{ca.Host("controller.test")}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}})
	gs := grpc.NewServer(grpc.Creds(creds), grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		md, _ := metadata.FromIncomingContext(ss.Context())
		if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+token {
			return status.Errorf(codes.Unauthenticated, "authorization %q", got)
		}
		return h(srv, ss)
	}))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(gs, server.NewServer(ctx, c.cache, server.CallbackFuncs{
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			if id := r.GetNode().GetId(); id != "" {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.nodes = append(c.nodes, id)
			}
			return nil
		},
	}))
	ln, err := net.Listen("tcp", netip.AddrPortFrom(addr, 15012).String())
	if err != nil {
		t.Fatal(err)
	}
	c.addr = ln.Addr().String()
	go gs.Serve(ln)
	t.Cleanup(gs.Stop)
	return c
}

func (c *controller) node() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.nodes) == 0 {
		return ""
	}
	return c.nodes[0]
}

// world is a launcher with everything around it.
type world struct {
	t      *testing.T
	ca     *testmesh.CA
	issuer *authority
	ctrl   *controller
	addr   func(byte) netip.Addr
	out    *buffer
	stop   context.CancelFunc
	done   chan error
	ready  string
	meter  string
	pod    *testmesh.Pod
}

func start(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, ca: testmesh.NewCA(t), addr: testmesh.Network(), out: &buffer{}, done: make(chan error, 1)}
	w.issuer = &authority{ca: w.ca}
	binary := testmesh.Binary(t)
	w.ctrl = startController(t, w.ca, w.addr(2))
	w.pod = testmesh.StartPod(t, w.ca, "cart-1", w.addr(10), 15008, "spiffe://cluster.local/ns/shop/sa/cart")
	w.publish()
	dir, err := os.MkdirTemp("", "wft-launch-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	w.ready = netip.AddrPortFrom(w.addr(1), 15021).String()
	w.meter = netip.AddrPortFrom(w.addr(1), 15020).String()
	o := Options{
		Gateway: "shop/wp", Pod: "wp-0", Controller: w.ctrl.addr, ControllerName: "controller.test",
		RootFile: file("root.pem", w.ca.RootPEM()), TokenFile: file("token", []byte(token+"\n")),
		Envoy: binary, RunDir: dir, Concurrency: 1, Drain: time.Second, Ready: w.ready, Metrics: w.meter, Out: w.out,
		Err: io.Discard, issuer: w.issuer,
	}
	if change != nil {
		change(&o)
	}
	if o.CertTTL > 0 {
		w.ca.Life = 4 * time.Second // shorter than asked for, as a CA may
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.done <- Run(ctx, o) }()
	t.Cleanup(func() {
		cancel()
		if w.done != nil {
			<-w.done
		}
		left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v %v", left, err)
		}
	})
	return w
}

func (w *world) publish() {
	w.t.Helper()
	snap := model.NewSnapshot()
	snap.TrustDomain = "cluster.local"
	snap.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: "cluster.local", Hostname: "wp.shop.svc.cluster.local", For: "service"}
	s := &model.Service{
		Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Waypoint: &model.Gateway{Namespace: "shop", Hostname: "wp.shop.svc.cluster.local"},
		Ports:    []model.Port{{ServicePort: 80, TargetPort: testmesh.HTTPPort, App: model.AppHTTP}, {ServicePort: 9000, TargetPort: testmesh.TCPPort, App: model.AppTCP}},
	}
	snap.Services[s.Key()] = s
	snap.Workloads["u"] = &model.Workload{
		UID: "u", Name: "cart-1", Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local", OwnerName: "cart",
		Addresses: []netip.Addr{w.pod.Addr}, Protocol: model.HBONE, Services: map[string][]model.Port{s.Key(): s.Ports},
	}
	res, problems := translate.Translate(snap, "shop/wp", translate.Config{Listen: []netip.Addr{w.addr(1)}})
	if len(problems) > 0 {
		w.t.Fatal(problems)
	}
	c, err := res.Cache("1")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.ctrl.cache.SetSnapshot(context.Background(), NodeID("shop/wp", "wp-0"), c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) isReady() error {
	res, err := http.Get("http://" + w.ready + "/ready")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode != 200 {
		return fmt.Errorf("%d %s", res.StatusCode, b)
	}
	return nil
}

func (w *world) waitReady() {
	w.t.Helper()
	testmesh.Eventually(w.t, 20*time.Second, "the waypoint is ready", w.isReady)
}

func (w *world) client() *testmesh.Client {
	c := testmesh.NewClient(w.t, w.ca, w.ca.Pair(caller), netip.AddrPortFrom(w.addr(1), 15008).String(), self)
	c.Baggage = "k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=frontend,service.name=frontend,service.version=v3"
	c.Forwarded = `for="10.244.9.9:4242";host=cart`
	return c
}

func (w *world) scrape() string {
	res, err := http.Get("http://" + w.meter + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return string(b)
}

func TestServesAndReports(t *testing.T) {
	w := start(t, nil)
	w.waitReady()
	if got := w.ctrl.node(); got != "waypoint~shop/wp~wp-0" {
		t.Errorf("node id %q", got)
	}
	c := w.client()
	res, err := c.HTTP(t, "10.96.0.1:80").Get("http://cart/hello")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Fatalf("status %d", res.StatusCode)
	}
	tun, err := c.Dial(context.Background(), "10.96.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64)
	if n, err := tun.Read(buf); err != nil || string(buf[:n]) != "220 cart-1\n" {
		t.Fatalf("banner %q %v", buf[:n], err)
	}
	has := func(what string, all ...string) {
		t.Helper()
		testmesh.Eventually(t, 5*time.Second, what, func() error {
			body := w.scrape()
			for l := range strings.SplitSeq(body, "\n") {
				if containsAll(l, all) {
					return nil
				}
			}
			return fmt.Errorf("no line with %q in\n%s", all, grep(body, "weft_"))
		})
	}
	has("the open connection is counted", "weft_tcp_connections_opened_total{", `destination_service="cart.shop.svc.cluster.local"`, `source_workload="frontend"`, "} 1")
	tun.Close()
	labels := []string{
		`reporter="waypoint"`, `source_workload="frontend"`, `source_workload_namespace="shop"`, `source_principal="` + caller + `"`,
		`destination_service="cart.shop.svc.cluster.local"`, `destination_workload="cart"`, `destination_principal="spiffe://cluster.local/ns/shop/sa/cart"`,
		`connection_security_policy="mutual_tls"`, `response_flags="-"`,
	}
	has("the request is counted", append(labels, "weft_requests_total{", `request_protocol="http"`, `response_code="200"`, "} 1")...)
	has("the request is timed", append(labels, "weft_request_duration_milliseconds_count{", "} 1")...)
	has("the closed connection is counted", append(labels[:7:7], "weft_tcp_connections_closed_total{", `request_protocol="tcp"`, "} 1")...)
	has("its bytes are counted", append(labels[:7:7], "weft_tcp_received_bytes_total{", "} 11")...)
	w.checkLog("http", func(l line) string {
		switch {
		case l.Code != 200, l.Path != "/hello", l.SrcID != caller, l.DstID != "spiffe://cluster.local/ns/shop/sa/cart":
			return "wrong request or identities"
		case l.SrcAddr != "10.244.9.9:4242", l.Dialled != "10.96.0.1:80", l.Flags != "-", l.SrcName != "shop/frontend", l.DstName != "shop/cart":
			return "wrong addresses, flags or workloads"
		}
		return ""
	})
	w.checkLog("tcp", func(l line) string {
		if l.SrcID != caller || l.Dialled != "10.96.0.1:9000" || l.Received != 11 {
			return "wrong"
		}
		return ""
	})
}

// checkLog finds the first log line of a protocol.
func (w *world) checkLog(protocol string, wrong func(line) string) {
	w.t.Helper()
	testmesh.Eventually(w.t, 5*time.Second, "a log line of "+protocol, func() error {
		for _, s := range strings.Split(w.out.String(), "\n") {
			var l line
			if json.Unmarshal([]byte(s), &l) == nil && l.Protocol == protocol {
				if why := wrong(l); why != "" {
					w.t.Fatalf("%s: %s", why, s)
				}
				return nil
			}
		}
		return fmt.Errorf("log:\n%s", w.out.String())
	})
}

// A short-lived certificate is renewed under a running tunnel: new handshakes see the new one.
func TestRenewsCertificate(t *testing.T) {
	w := start(t, func(o *Options) { o.CertTTL = 30 * time.Second })
	w.waitReady()
	tun, err := w.client().Dial(context.Background(), "10.96.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	first := w.serial()
	testmesh.Eventually(t, 15*time.Second, "another certificate is served", func() error {
		if w.serial() == first {
			return fmt.Errorf("still the first; %d issued", w.issuer.count())
		}
		return nil
	})
	if _, err := tun.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 0, 64)
	buf := make([]byte, 64)
	for !bytes.Contains(got, []byte("still here")) {
		n, err := tun.Read(buf)
		if err != nil {
			t.Fatalf("the running tunnel broke: %v", err)
		}
		got = append(got, buf[:n]...)
	}
}

// serial is that of the certificate shown to new handshakes.
func (w *world) serial() string {
	cfg := w.ca.ClientTLS(w.ca.Pair(caller), self)
	c, err := tls.Dial("tcp", netip.AddrPortFrom(w.addr(1), 15008).String(), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func TestDrainsAndEnds(t *testing.T) {
	w := start(t, func(o *Options) { o.Drain = 10 * time.Second })
	w.waitReady()
	c := w.client()
	hc := c.HTTP(t, "10.96.0.1:80")
	slow := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		close(began)
		res, err := hc.Get("http://cart/sleep/1500")
		if err == nil {
			res.Body.Close()
			if res.StatusCode != 200 {
				err = fmt.Errorf("status %d", res.StatusCode)
			}
		}
		slow <- err
	}()
	<-began
	testmesh.Eventually(t, 5*time.Second, "the slow request is under way", func() error {
		if w.pod.Tunnels.Load() == 0 {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	w.stop()
	testmesh.Eventually(t, 2*time.Second, "readiness ends first", func() error {
		if err := w.isReady(); err == nil {
			return fmt.Errorf("still ready")
		}
		return nil
	})
	if err := <-slow; err != nil {
		t.Errorf("a request under way was cut: %v", err)
	}
	c.Close()
	select {
	case err := <-w.done:
		w.done = nil
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("did not end")
	}
}

func TestStartsEnvoyAgain(t *testing.T) {
	w := start(t, nil)
	w.waitReady()
	// /quitquitquit by somebody else is an unexpected end like any other.
	matches, err := filepath.Glob(filepath.Join(os.TempDir(), "wft-launch-*", "*", "admin.sock"))
	if err != nil || len(matches) == 0 {
		t.Fatalf("no admin socket: %v", err)
	}
	hc := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", matches[0])
	}}}
	res, err := hc.Post("http://envoy/quitquitquit", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	testmesh.Eventually(t, 5*time.Second, "not ready without Envoy", func() error {
		if w.isReady() == nil {
			return fmt.Errorf("still ready")
		}
		return nil
	})
	w.waitReady()
	if !strings.Contains(w.scrape(), "weft_waypoint_envoy_restarts_total 1") {
		t.Error("the restart is not counted")
	}
	if res, err := w.client().HTTP(t, "10.96.0.1:80").Get("http://cart/"); err != nil || res.StatusCode != 200 {
		t.Errorf("after the restart: %v %v", res, err)
	}
}

func TestBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no gateway":    {Controller: "x:1", RootFile: "/r"},
		"bad gateway":   {Gateway: "wp", Controller: "x:1", RootFile: "/r"},
		"no controller": {Gateway: "a/b"},
		"no root file":  {Gateway: "a/b", Controller: "x:1", RootFile: "/does/not/exist", RunDir: t.TempDir(), Envoy: "/bin/true"},
		"no envoy":      {Gateway: "a/b", Controller: "x:1", RootFile: "/r", Envoy: "/does/not/exist"},
		"long run dir":  {Gateway: "a/b", Controller: "x:1", RootFile: "/r", Envoy: "/bin/true", RunDir: filepath.Join(t.TempDir(), strings.Repeat("x", 100))},
	} {
		if err := Run(context.Background(), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func containsAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func grep(s, what string) string {
	var out []string
	for l := range strings.SplitSeq(s, "\n") {
		if strings.HasPrefix(l, what) && !strings.Contains(l, "_bucket") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

type buffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
