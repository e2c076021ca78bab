package hbone

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"testing"
	"time"
)

const (
	clientID = "spiffe://cluster.local/ns/shop/sa/frontend"
	serverID = "spiffe://cluster.local/ns/shop/sa/cart"
)

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	a := &authority{cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	return a
}

func (a *authority) leaf(t testing.TB, id string, notAfter time.Time) tls.Certificate {
	t.Helper()
	return a.issue(t, id, notAfter.Add(-48*time.Hour), notAfter)
}

func (a *authority) issue(t testing.TB, id string, notBefore, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	u, err := url.Parse(id)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{u},
		NotBefore: notBefore, NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	must(t, err)
	x, err := x509.ParseCertificate(der)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: x}
}

func (a *authority) serverTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: a.pool, NextProtos: []string{"h2"}}
}

func (a *authority) clientTLS(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, NextProtos: []string{"h2"},
		VerifyConnection: func(cs tls.ConnectionState) error {
			mids := x509.NewCertPool()
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: a.pool, Intermediates: mids, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
			return err
		}}
}

// world is a server with its handler and a pool that reaches it over loopback.
type world struct {
	t      testing.TB
	ca     *authority
	server *Server
	pool   *Pool
	addr   netip.AddrPort
	key    Key
}

type setup struct {
	ca             *authority
	handler        func(ctx context.Context, r *Request)
	server, client Limits
	serverCert     *tls.Certificate
	clientCert     *tls.Certificate
	serverTLS      func() *tls.Config // instead of serverCert
	clock          Clock
	vouch          func(ConnInfo) time.Time // of both sides
	serverEvents   *Events
	clientEvents   *Events
	driver         string // instead of the one under test
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{t: t, ca: s.ca}
	if w.ca == nil {
		w.ca = newAuthority(t)
	}
	end := time.Now().Add(12 * time.Hour)
	sc, cc := w.ca.leaf(t, serverID, end), w.ca.leaf(t, clientID, end)
	if s.serverCert != nil {
		sc = *s.serverCert
	}
	if s.clientCert != nil {
		cc = *s.clientCert
	}
	if s.handler == nil {
		s.handler = echo
	}
	if s.serverTLS == nil {
		s.serverTLS = func() *tls.Config { return w.ca.serverTLS(sc) }
	}
	shards := newShards(t, s.driver)
	w.server = NewServer(ServerOptions{
		Shards:  shards,
		TLS:     func(context.Context, net.Conn) (*tls.Config, error) { return s.serverTLS(), nil },
		Handler: s.handler, Limits: s.server, Clock: s.clock, Events: s.serverEvents, Vouch: s.vouch,
	})
	l := listen(t)
	w.addr = addrPort(l.Addr())
	go w.server.Serve(l)
	w.pool = NewPool(PoolOptions{
		Shards: shards,
		Dial: func(ctx context.Context, k Key) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", k.Dest.String())
		},
		TLS:    func(Key) (*tls.Config, error) { return w.ca.clientTLS(cc), nil },
		Limits: s.client, Clock: s.clock, Events: s.clientEvents, Vouch: s.vouch,
	})
	w.key = Key{Source: clientID, SANs: MakeSANSet(serverID), Dest: w.addr}
	t.Cleanup(func() {
		w.pool.Close()
		w.server.Close()
	})
	return w
}

func (w *world) open() *Stream {
	w.t.Helper()
	s, err := w.pool.Open(context.Background(), w.key, "10.0.0.1:80", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// echo sends back what comes, and ends when its peer does.
func echo(_ context.Context, r *Request) {
	s, err := r.Accept(nil)
	if err != nil {
		return
	}
	if _, err = io.Copy(s, s); err == nil {
		s.CloseWrite()
	}
	s.Close()
}

// toApp splices every stream to a TCP application at addr.
func toApp(addr string) func(ctx context.Context, r *Request) {
	return func(_ context.Context, r *Request) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			r.Reject(503, err.Error(), nil)
			return
		}
		s, err := r.Accept(nil)
		if err != nil {
			c.Close()
			return
		}
		s.Start(context.Background(), c.(*net.TCPConn), SpliceOptions{}, func(error) {})
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// tcpPair is a TCP connection over loopback: both its ends.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	l := listen(t)
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	s, err := l.Accept()
	must(t, err)
	t.Cleanup(func() { c.Close(); s.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// spliced is a client application, connected through the tunnel to a server application.
type spliced struct {
	client, server *net.TCPConn
	result         chan error // of the client's splice
}

// splice connects a pair of applications through w, whose handler must be toApp of l.
func (w *world) splice(l net.Listener, o SpliceOptions) *spliced {
	w.t.Helper()
	app, inner := tcpPair(w.t)
	r := &spliced{client: app, result: make(chan error, 1)}
	s := w.open()
	s.Start(context.Background(), inner, o, func(err error) { r.result <- err })
	c, err := l.Accept()
	must(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	r.server = c.(*net.TCPConn)
	return r
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Errorf("got error %v, want one that is %q", err, target)
		}
	}
}

// eventually polls until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

// fakeClock moves only by hand.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[*fakeTimer]struct{}
}

type fakeTimer struct {
	c  *fakeClock
	at time.Time
	f  func()
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Now(), timers: map[*fakeTimer]struct{}{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) AfterFunc(d time.Duration, f func()) Timer {
	t := &fakeTimer{c: c, f: f}
	t.Reset(d)
	return t
}

func (t *fakeTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_, was := t.c.timers[t]
	delete(t.c.timers, t)
	return was
}

func (t *fakeTimer) Reset(d time.Duration) bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	_, was := t.c.timers[t]
	t.at = t.c.now.Add(d)
	t.c.timers[t] = struct{}{}
	return was
}

// advance moves the clock in steps of a second and runs what falls due.
func (c *fakeClock) advance(d time.Duration) {
	for end := c.Now().Add(d); c.Now().Before(end); {
		c.mu.Lock()
		c.now = c.now.Add(min(time.Second, end.Sub(c.now)))
		var due []func()
		for t := range c.timers {
			if !t.at.After(c.now) {
				delete(c.timers, t)
				due = append(due, t.f)
			}
		}
		c.mu.Unlock()
		for _, f := range due {
			f()
		}
	}
}
