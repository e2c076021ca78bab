package ca

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	cart       = identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"}
	catalog    = identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "catalog"}
	controller = identity.Identity{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-controller"}
)

// fakeClock moves only when told.
type fakeClock struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[chan time.Time]time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Now().Truncate(time.Second), waiters: map[chan time.Time]time.Time{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= 0 {
		ch <- c.now
		return ch
	}
	c.waiters[ch] = c.now.Add(d)
	return ch
}

func (c *fakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for ch, at := range c.waiters {
		if !at.After(c.now) {
			ch <- c.now
			delete(c.waiters, ch)
		}
	}
}

// next is how long from now until the earliest waiter is due; 0 without one.
func (c *fakeClock) next() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first time.Duration
	for _, at := range c.waiters {
		if d := at.Sub(c.now); first == 0 || d < first {
			first = d
		}
	}
	return first
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func openAuthority(t *testing.T, o AuthorityOptions) *Authority {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Create = true
	a, err := OpenAuthority(o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// rig is a CA that serves on loopback, and what its clients need.
type rig struct {
	authority *Authority
	nodes     *NodePolicy
	address   string
	rootFile  string
	tokenKey  string
	dir       string
}

func snapshotWith(ws ...*model.Workload) *model.Snapshot {
	s := model.NewSnapshot()
	for _, w := range ws {
		s.Workloads.Set(w.UID, w)
	}
	return s
}

func pod(name, node string, id identity.Identity) *model.Workload {
	return &model.Workload{UID: "//Pod/" + id.Namespace + "/" + name, Name: name, Node: node, Namespace: id.Namespace, ServiceAccount: id.ServiceAccount, TrustDomain: id.TrustDomain}
}

func startCA(t *testing.T, o AuthorityOptions) *rig {
	t.Helper()
	r := &rig{authority: openAuthority(t, o), nodes: NewNodePolicy("weft-system/weft-ztunnel"), dir: t.TempDir()}
	r.nodes.Grace = 0
	r.rootFile, r.tokenKey = filepath.Join(r.dir, "root.pem"), filepath.Join(r.dir, "token.key")
	if err := os.WriteFile(r.rootFile, r.authority.RootPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := CreateTokenKey(r.tokenKey); err != nil {
		t.Fatal(err)
	}
	jwt, err := NewJWTAuthenticator(JWTOptions{KeyFile: r.tokenKey + ".pub"})
	if err != nil {
		t.Fatal(err)
	}
	r.nodes.SetSnapshot(snapshotWith(pod("cart-1", "n1", cart), pod("catalog-1", "n2", catalog)))
	auth := Any(jwt, PeerCertAuthenticator{Authority: r.authority})
	srv := grpc.NewServer(grpc.UnaryInterceptor(UnaryAuth(auth, nil)),
		grpc.Creds(credentials.NewTLS(r.authority.ServingTLS(ServingOptions{Identity: controller, DNSNames: []string{"weft-controller.weft-system.svc"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}))))
	NewService(ServiceOptions{Authority: r.authority, MayImpersonate: r.nodes.MayImpersonate}).Register(srv)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return r
}

func (r *rig) token(t *testing.T, o MintOptions) string {
	t.Helper()
	if o.KeyFile == "" {
		o.KeyFile = r.tokenKey
	}
	if o.ServiceAccount == "" {
		o.ServiceAccount = "weft-system/weft-ztunnel"
	}
	tok, err := MintToken(o)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// dial connects with a token ("" sends none).
func (r *rig) dial(t *testing.T, token string) *grpc.ClientConn {
	t.Helper()
	o := DialOptions{Address: r.address, RootFile: r.rootFile, Server: controller}
	if token != "" {
		o.TokenFile = filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(o.TokenFile, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dialWith(t, o)
}

func dialWith(t *testing.T, o DialOptions) *grpc.ClientConn {
	t.Helper()
	conn, err := Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// direct issues without a network.
type direct struct{ a *Authority }

func (d direct) Issue(_ context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	return d.a.Sign(csr, id, ttl)
}

func newManager(t *testing.T, o ManagerOptions) *Manager {
	t.Helper()
	m := NewManager(o)
	t.Cleanup(m.Close)
	return m
}

func mustCert(t *testing.T, m *Manager, id identity.Identity) *Cert {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := m.Certificate(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake runs TLS over loopback and returns both ends' errors. One byte each way makes the
// client see what the server thinks of its certificate.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	errs := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			errs <- err
			return
		}
		defer c.Close()
		errs <- exchange(tls.Server(c, server))
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	clientErr = exchange(tls.Client(c, client))
	c.Close()
	return <-errs, clientErr
}

func exchange(c *tls.Conn) error {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.Handshake(); err != nil {
		return err
	}
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 1))
	return err
}
