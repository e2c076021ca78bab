package launcher

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
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
		w.ca.Life = 12 * time.Second // shorter than asked for, as a CA may
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
	snap.Workloads.Set("u", &model.Workload{
		UID: "u", Name: "cart-1", Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local", OwnerName: "cart",
		Addresses: []netip.Addr{w.pod.Addr}, Protocol: model.HBONE, Services: map[string][]model.Port{s.Key(): s.Ports},
	})
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
