package interop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/hbone"
)

const (
	clientID = "spiffe://cluster.local/ns/shop/sa/frontend"
	serverID = "spiffe://cluster.local/ns/shop/sa/cart"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mesh is a CA, our server in front of an echoing application, and where it listens.
type mesh struct {
	t      testing.TB
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	roots  *x509.CertPool
	server *hbone.Server
	addr   string
	app    net.Listener
	last   atomic.Pointer[hbone.Request] // the last one that our server accepted
}

func newMesh(t testing.TB) *mesh {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	must(t, err)
	m := &mesh{t: t, key: key, roots: x509.NewCertPool()}
	m.cert, err = x509.ParseCertificate(der)
	must(t, err)
	m.roots.AddCert(m.cert)
	m.app = listen(t)
	go accept(m.app, func(c net.Conn) {
		if _, err := io.Copy(c, c); err == nil {
			c.(*net.TCPConn).CloseWrite()
		}
	})
	cfg := &tls.Config{Certificates: []tls.Certificate{m.leaf(serverID)}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.roots}
	m.server = hbone.NewServer(hbone.ServerOptions{
		Shards:  shards,
		TLS:     func(context.Context, net.Conn) (*tls.Config, error) { return cfg, nil },
		Handler: m.handle,
	})
	l := listen(t)
	m.addr = l.Addr().String()
	go m.server.Serve(l)
	t.Cleanup(func() { m.server.Close() })
	return m
}

func (m *mesh) handle(ctx context.Context, r *hbone.Request) {
	if r.Authority == "10.9.9.9:1" {
		r.Reject(503, "nobody there", nil)
		return
	}
	c, err := net.Dial("tcp", m.app.Addr().String())
	if err != nil {
		r.Reject(503, err.Error(), nil)
		return
	}
	m.last.Store(r)
	s, err := r.Accept(nil)
	if err != nil {
		c.Close()
		return
	}
	s.Splice(ctx, c.(*net.TCPConn), hbone.SpliceOptions{})
}

// lastHeader is that of the last request that our server accepted.
func (m *mesh) lastHeader() hbone.Header { return m.last.Load().Header }

// leaf is a workload's certificate that is good as a host's, too, for clients that verify names.
func (m *mesh) leaf(id string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(m.t, err)
	u, err := url.Parse(id)
	must(m.t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{u}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(12 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, m.cert, key.Public(), m.key)
	must(m.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// clientTLS is for clients of other makers.
func (m *mesh) clientTLS() *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{m.leaf(clientID)}, RootCAs: m.roots, NextProtos: []string{"h2"}}
}

// pool is our client for a server at addr.
func (m *mesh) pool(t testing.TB, addr string) (*hbone.Pool, hbone.Key) {
	cfg := m.clientTLS()
	cfg.ServerName = "127.0.0.1"
	p := hbone.NewPool(hbone.PoolOptions{
		Shards: shards,
		Dial: func(ctx context.Context, k hbone.Key) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", k.Dest.String())
		},
		TLS: func(hbone.Key) (*tls.Config, error) { return cfg, nil },
	})
	t.Cleanup(func() { p.Close() })
	return p, hbone.Key{Source: clientID, SANs: hbone.MakeSANSet(serverID), Dest: netip.MustParseAddrPort(addr)}
}

// files writes CA and client certificate for command-line clients.
func (m *mesh) files() (ca, cert, key string) { return m.write(m.leaf(clientID)) }

// write writes CA and a certificate.
func (m *mesh) write(leaf tls.Certificate) (ca, cert, key string) {
	dir := m.t.TempDir()
	write := func(name, typ string, der []byte) string {
		p := filepath.Join(dir, name)
		must(m.t, os.WriteFile(p, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600))
		return p
	}
	k, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	must(m.t, err)
	return write("ca.pem", "CERTIFICATE", m.cert.Raw), write("cert.pem", "CERTIFICATE", leaf.Certificate[0]), write("key.pem", "PRIVATE KEY", k)
}

func listen(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func accept(l net.Listener, f func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			f(c)
		}()
	}
}

// exchange sends 3 MB through c, which echoes them, and ends in good order. It may be called on any
// goroutine.
func exchange(t *testing.T, c io.ReadWriter, closeWrite func() error) {
	t.Helper()
	const size = 3 << 20
	sent := make([]byte, size)
	rand.Read(sent)
	go func() {
		c.Write(sent)
		if closeWrite != nil {
			closeWrite()
		}
	}()
	got := make([]byte, size)
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back, %v, or other bytes", n, err)
		return
	}
	if closeWrite != nil {
		if n, err := c.Read(got); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %d, %v", n, err)
		}
	}
}

// eventually tries until ok has no error. It takes long only on the way to a failure.
func eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	err := ok()
	for end := time.Now().Add(30 * time.Second); err != nil && time.Now().Before(end); err = ok() {
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// lockedBuffer collects what a program writes while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex // protects b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
