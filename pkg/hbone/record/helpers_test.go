package record

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mesh is a CA with one certificate that both sides show. Tests do not change it.
var mesh = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/cart"}}, DNSNames: []string{"cart"}}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

func config() *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(mesh().Leaf)
	return &tls.Config{Certificates: []tls.Certificate{mesh()}, RootCAs: roots, ClientCAs: roots, ServerName: "cart",
		ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13}
}

// pipe is a TCP connection to ourselves.
func pipe(t testing.TB) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	a, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	b, err = l.Accept()
	must(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	limit := time.Now().Add(time.Minute) // for what hangs
	must(t, errors.Join(a.SetDeadline(limit), b.SetDeadline(limit)))
	return a, b
}

func roleName(client bool) string {
	if client {
		return "client"
	}
	return "server"
}

// bothRoles runs f with us as client and as server.
func bothRoles(t *testing.T, f func(t *testing.T, client bool)) {
	for _, client := range []bool{true, false} {
		t.Run(roleName(client), func(t *testing.T) { f(t, client) })
	}
}

func shake(ctx context.Context, c net.Conn, cfg *tls.Config, client bool) (*Session, error) {
	if client {
		return Client(ctx, c, cfg)
	}
	return Server(ctx, c, cfg)
}

// withStdlib connects a session of ours to crypto/tls.
func withStdlib(t testing.TB, client bool) (*talker, *tls.Conn) {
	t.Helper()
	a, b := pipe(t)
	theirs := tls.Client(b, config())
	if client {
		theirs = tls.Server(b, config())
	}
	over := make(chan error, 1)
	go func() { over <- theirs.Handshake() }()
	s, err := shake(t.Context(), a, config(), client)
	must(t, err)
	must(t, <-over)
	return &talker{Conn: a, s: s, in: s.Surplus}, theirs
}

// withOurselves connects two sessions of ours.
func withOurselves(t testing.TB) (client, server *talker) {
	t.Helper()
	a, b := pipe(t)
	over := make(chan error, 1)
	go func() {
		s, err := Server(context.Background(), b, config())
		if err == nil {
			server = &talker{Conn: b, s: s, in: s.Surplus}
		}
		over <- err
	}()
	s, err := Client(t.Context(), a, config())
	must(t, err)
	must(t, <-over)
	return &talker{Conn: a, s: s, in: s.Surplus}, server
}

// talker drives a session by blocking calls. One goroutine may read while another writes, since mu is held
// whenever the session is touched.
type talker struct {
	net.Conn
	mu  sync.Mutex
	s   *Session
	in  []byte // ciphertext
	buf []byte // payload not taken
}

func (c *talker) Read(p []byte) (int, error) {
	for len(c.buf) == 0 {
		c.mu.Lock()
		payload, n, err := c.s.In.Open(c.in)
		answer := c.s.Out.AppendDue(nil)
		c.mu.Unlock()
		if len(answer) > 0 {
			if _, err := c.Conn.Write(answer); err != nil {
				return 0, err
			}
		}
		if err != nil {
			return 0, err
		}
		if n > 0 {
			c.in, c.buf = c.in[n:], payload
			continue
		}
		more := make([]byte, 64<<10)
		n, err = c.Conn.Read(more)
		if n == 0 && errors.Is(err, io.EOF) {
			return 0, c.s.In.Truncated()
		}
		if n == 0 {
			return 0, err
		}
		c.in = append(c.in, more[:n]...)
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// Write sends p in one system call, in records of random length.
func (c *talker) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []byte
	for rest := p; len(rest) > 0; {
		out = c.s.Out.AppendDue(out)
		n := min(len(rest), MaxPayload)
		rec := make([]byte, n+Overhead)
		copy(rec[HeaderLen:], rest[:n])
		m, err := c.s.Out.Seal(rec, n)
		if err != nil {
			return 0, err
		}
		out, rest = append(out, rec[:m]...), rest[n:]
	}
	_, err := c.Conn.Write(out)
	return len(p), err
}

// end says goodbye.
func (c *talker) end(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, e := c.Conn.Write(c.s.Out.AppendEnd(nil, err))
	return e
}

// newSeed differs every time, since a key may be used by one session only.
func newSeed() []byte {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return b
}
