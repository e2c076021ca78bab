package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/isolate"
	"github.com/weftmesh/weft/waypoint/launcher"
	"github.com/weftmesh/weft/waypoint/translate"
)

// control is the controller's half in short: the mesh's own CA and xDS server with an Isolator between
// Snapshot and server.
type control struct {
	t    *testing.T
	dir  string
	addr string
	auth *ca.Authority
	iso  *isolate.Isolator
	xds  *xds.Server
}

func startControl(t *testing.T, at netip.Addr, cfg translate.Config) *control {
	t.Helper()
	dir, err := os.MkdirTemp("", "wft-ctl-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	c := &control{t: t, dir: dir}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	c.auth, err = ca.OpenAuthority(ca.AuthorityOptions{Dir: filepath.Join(dir, "ca"), Create: true})
	must(err)
	must(os.WriteFile(filepath.Join(dir, "root.pem"), c.auth.RootPEM(), 0o600))
	must(ca.CreateTokenKey(filepath.Join(dir, "token-key")))
	jwt, err := ca.NewJWTAuthenticator(ca.JWTOptions{KeyFile: filepath.Join(dir, "token-key.pub")})
	must(err)
	nacks := make(chan xds.NACK, 64)
	c.xds, err = xds.NewServer(xds.Options{
		TLS: c.auth.ServingTLS(ca.ServingOptions{
			Identity: identity.Identity{TrustDomain: domain, Namespace: "weft-system", ServiceAccount: "weft-controller"}, IPs: []net.IP{at.AsSlice()},
		}),
		Authenticator: jwt,
		OnNACK:        func(n xds.NACK) { nacks <- n },
		Register:      []func(grpc.ServiceRegistrar){ca.NewService(ca.ServiceOptions{Authority: c.auth}).Register},
	})
	must(err)
	node := xds.WaypointNode("shop", "wp", "")
	c.iso, err = isolate.New(isolate.Options{
		Waypoint: "shop/wp", Config: cfg,
		Current: func() bool { return c.xds.EnvoyCurrent(node) },
		Publish: func(s *cache.Snapshot) error { return c.xds.SetEnvoy(node, s) },
		Connected: func() bool {
			for _, cl := range c.xds.Clients() {
				if strings.HasPrefix(cl.NodeID, node+"~") {
					return true
				}
			}
			return false
		},
	})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	t.Cleanup(c.iso.Close)
	go func() {
		for {
			select {
			case n := <-nacks:
				if err := c.iso.Nack(n.TypeURL, n.Version, n.Detail); err != nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(at, 15012).String())
	must(err)
	c.addr = ln.Addr().String()
	go func() { _ = c.xds.Serve(ctx, ln) }()
	return c
}

func (c *control) publish(s *model.Snapshot) {
	c.t.Helper()
	c.xds.SetSnapshot(s)
	if err := c.iso.Set(s); err != nil {
		c.t.Fatal(err)
	}
}

// token of a service account.
func (c *control) token(account string) string {
	c.t.Helper()
	tok, err := ca.MintToken(ca.MintOptions{KeyFile: filepath.Join(c.dir, "token-key"), ServiceAccount: account, Node: "n1"})
	if err != nil {
		c.t.Fatal(err)
	}
	path := filepath.Join(c.dir, strings.ReplaceAll(account, "/", "."))
	if err := os.WriteFile(path, []byte(tok), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// issuer signs without gRPC, for the test's pods and callers.
type issuer struct{ auth *ca.Authority }

func (i issuer) Issue(_ context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	return i.auth.Sign(csr, id, ttl)
}

// launched is a waypoint as it runs in production, launcher and all, with service cart at vip behind it.
type launched struct {
	*control
	run     string // the launcher's directory
	metrics string // address
	snap    *model.Snapshot
	service *model.Service
	caller  *testmesh.Client // frontend
	http    *http.Client     // as frontend, to vip
}

// launch runs the binary as Envoy, with options that may be changed.
func launch(t *testing.T, binary string, change ...func(*launcher.Options)) *launched {
	t.Helper()
	addr := testmesh.Network()
	l := &launched{control: startControl(t, addr(2), translate.Config{Listen: []netip.Addr{addr(1)}})}
	certs := ca.NewManager(ca.ManagerOptions{Issuer: issuer{l.auth}})
	t.Cleanup(certs.Close)
	account := func(name string) identity.Identity {
		return identity.Identity{TrustDomain: domain, Namespace: "shop", ServiceAccount: name}
	}
	cartID, clientID, wpID := account("cart"), account("frontend"), account("wp")
	for _, id := range []identity.Identity{cartID, clientID} {
		if _, err := certs.Certificate(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
	pod := testmesh.StartPodTLS(t, "cart-1", addr(10), 15008, certs.ServerTLS(cartID))
	l.world(pod.Addr)
	l.publish(l.snap)
	l.start(binary, addr(1), change...)
	l.caller = testmesh.NewClientTLS(t, netip.AddrPortFrom(addr(1), 15008).String(), certs.ClientTLS(clientID, []identity.Identity{wpID}))
	l.http = l.caller.HTTP(t, vip)
	return l
}

// world is cart with one pod.
func (l *launched) world(pod netip.Addr) {
	l.snap = model.NewSnapshot()
	l.snap.TrustDomain = domain
	l.snap.Waypoints["shop/wp"] = &model.Waypoint{Namespace: "shop", Name: "wp", ServiceAccount: "wp", TrustDomain: domain, Hostname: "wp.shop.svc.cluster.local", For: "service"}
	l.service = &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Waypoint: &model.Gateway{Hostname: "wp.shop.svc.cluster.local"}, Ports: []model.Port{{ServicePort: 80, TargetPort: testmesh.HTTPPort, App: model.AppHTTP}}}
	l.snap.Services[l.service.Key()] = l.service
	l.snap.Workloads.Set("u", &model.Workload{UID: "u", Name: "cart-1", Namespace: "shop", ServiceAccount: "cart", TrustDomain: domain, Addresses: []netip.Addr{pod}, Protocol: model.HBONE, Services: map[string][]model.Port{l.service.Key(): l.service.Ports}})
}

// start runs the launcher until it is ready.
func (l *launched) start(binary string, at netip.Addr, change ...func(*launcher.Options)) {
	l.t.Helper()
	var err error
	if l.run, err = os.MkdirTemp("", "wft-run-"); err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { os.RemoveAll(l.run) })
	ready := netip.AddrPortFrom(at, 15021).String()
	l.metrics = netip.AddrPortFrom(at, 15020).String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	o := launcher.Options{
		Gateway: "shop/wp", Pod: "wp-0", Controller: l.addr, RootFile: filepath.Join(l.dir, "root.pem"), TokenFile: l.token("shop/wp"),
		Envoy: binary, RunDir: l.run, Concurrency: 1, Drain: 100 * time.Millisecond, Ready: ready, Metrics: l.metrics, Out: io.Discard, Err: io.Discard,
	}
	for _, f := range change {
		f(&o)
	}
	go func() { done <- launcher.Run(ctx, o) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("launcher ended with %v", err)
		}
	})
	testmesh.Eventually(l.t, 20*time.Second, "the waypoint is ready", func() error {
		res, err := http.Get("http://" + ready + "/ready")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); res.StatusCode != 200 {
			return fmt.Errorf("%s", b)
		}
		return nil
	})
}

func (l *launched) answers(path string, want int) {
	l.t.Helper()
	testmesh.Eventually(l.t, 10*time.Second, fmt.Sprintf("%s is answered %d", path, want), func() error {
		code, _, _, err := ask(l.http, "GET", path)
		if err != nil {
			return err
		}
		if code != want {
			return fmt.Errorf("status %d", code)
		}
		return nil
	})
}

// The launcher against the mesh's own CA and xDS server: certificate by token, configuration through the
// launcher's socket, refusals back to the Isolator.
func TestWithOurController(t *testing.T) {
	l := launch(t, testmesh.Binary(t))
	l.answers("/", 200)

	bad, svc := *l.snap, l.service
	r := &model.Route{Namespace: "shop", Name: "huge", Kind: "HTTPRoute", Service: svc.Key(), Rules: []model.RouteRule{
		{Matches: path(model.PathRegex, "/x"+strings.Repeat("(abcdefghij|klmnopqrst){100}", 12)), Backends: []model.Backend{backend(svc.Key(), 1)}}}}
	fine := &model.Route{Namespace: "shop", Name: "fine", Kind: "HTTPRoute", Service: svc.Key(), Rules: []model.RouteRule{
		{Matches: path(model.PathPrefix, "/fine"), Backends: []model.Backend{backend(svc.Key(), 1)}}}}
	bad.Routes = map[string]*model.Route{r.Key(): r, fine.Key(): fine}
	l.publish(&bad)
	l.answers("/other", 500) // the refused route fails closed
	l.answers("/fine", 200)
	testmesh.Eventually(t, 10*time.Second, "the route is named", func() error {
		p := l.iso.Problems()
		if len(p) != 1 || p[0].Source.Name != "huge" {
			return fmt.Errorf("%v", p)
		}
		return nil
	})
}
