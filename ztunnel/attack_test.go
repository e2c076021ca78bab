package ztunnel_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/state"
)

// stranger is a client of port 15008 that we did not write: crypto/tls and x/net/http2.
type stranger struct {
	m    *mesh
	cert *tls.Certificate
	addr string // from which it calls
	max  uint16 // TLS version
	alpn []string
}

// certificate has an authority sign a leaf.
func certificate(t *testing.T, a *ca.Authority, id identity.Identity) *tls.Certificate {
	t.Helper()
	key, csr, err := ca.NewRequest(id)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Sign(csr, id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return pair(t, key, chain)
}

func pair(t *testing.T, key crypto.Signer, chain []string) *tls.Certificate {
	t.Helper()
	certs, err := ca.ParseCertificates([]byte(chain[0]))
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{certs[0].Raw}, PrivateKey: key, Leaf: certs[0]}
}

func (m *mesh) stranger(sa string) *stranger {
	id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: sa}
	return &stranger{m: m, cert: certificate(m.t, m.authority, id), addr: "10.244.9.9", alpn: []string{"h2"}}
}

// dial connects to cart's 15008 and shakes hands.
func (s *stranger) dial() (*tls.Conn, error) {
	c, err := s.m.connect(s.m.pods["cart-1"].listener(15008), s.m.ephemeral(netip.MustParseAddr(s.addr)), netip.MustParseAddrPort("10.244.2.1:15008"))
	if err != nil {
		return nil, err
	}
	s.m.t.Cleanup(func() { c.TCPConn.Close() })
	c.SetDeadline(time.Now().Add(10 * time.Second))
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: s.alpn, MaxVersion: s.max}
	if s.cert != nil {
		cfg.Certificates = []tls.Certificate{*s.cert}
	}
	tc := tls.Client(c, cfg)
	if err := tc.Handshake(); err != nil {
		return nil, err
	}
	return tc, nil
}

// ask sends one request and returns its status; header is name, value, ...
func (s *stranger) ask(method, authority string, header ...string) (int, error) {
	tc, err := s.dial()
	if err != nil {
		return 0, err
	}
	cc, err := (&http2.Transport{}).NewClientConn(tc)
	if err != nil {
		return 0, err
	}
	defer cc.Close()
	h := http.Header{}
	for i := 0; i+1 < len(header); i += 2 {
		h.Add(header[i], header[i+1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	body, w := io.Pipe()
	defer w.Close()
	r := (&http.Request{Method: method, URL: &url.URL{Scheme: "https", Host: authority, Path: "/"}, Host: authority, Header: h, Body: body}).WithContext(ctx)
	if method == "CONNECT" {
		r.URL = &url.URL{Host: authority}
	} else {
		r.Body = nil
	}
	resp, err := cc.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

func TestRequestsThatAreWrong(t *testing.T) {
	m := shop(t)
	s := m.stranger("front")
	for _, c := range []struct {
		method, authority string
		want              int
	}{
		{"CONNECT", "10.244.2.1:8080", 200},
		{"GET", "10.244.2.1:8080", 400},
		{"POST", "10.244.2.1:8080", 400},
		{"CONNECT", "10.244.1.1:8080", 400}, // another pod
		{"CONNECT", "192.0.2.1:443", 400},   // outside
		{"CONNECT", "10.244.2.1:15001", 400},
		{"CONNECT", "10.244.2.1:15006", 400},
		{"CONNECT", "10.244.2.1:15008", 400},
		{"CONNECT", "127.0.0.1:8080", 400},
		{"CONNECT", "[::1]:8080", 400},
		{"CONNECT", "[::ffff:127.0.0.1]:8080", 400},
		{"CONNECT", "0.0.0.0:8080", 400},
		{"CONNECT", "10.244.2.1:0", 400},
		{"CONNECT", "[fd00:244:2::1]:15008", 400},
		{"GET", "10.244.1.1:8080", 400},
		{"CONNECT", "169.254.169.254:80", 400},
		{"CONNECT", "cart.shop.svc.cluster.local:80", 400},
		{"CONNECT", "10.244.2.1:81", 503}, // nothing listens
	} {
		if got, err := s.ask(c.method, c.authority); err != nil || got != c.want {
			t.Errorf("%s %s: %d %v, want %d", c.method, c.authority, got, err, c.want)
		}
	}
	m.apply(state.Delta{Policies: []*model.Policy{only("payments")}})
	if got, err := s.ask("CONNECT", "10.244.2.1:8080"); err != nil || got != 401 {
		t.Errorf("refused by policy: %d %v, want 401", got, err)
	}
}

func TestHeaderBomb(t *testing.T) {
	m := shop(t)
	s := m.stranger("front")
	if got, err := s.ask("CONNECT", "10.244.2.1:8080", "x-bomb", strings.Repeat("a", 200<<10)); err == nil && got == 200 {
		t.Error("a header of 200 KiB was taken")
	}
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprint("x-", i), strings.Repeat("b", 30))
	}
	if got, err := s.ask("CONNECT", "10.244.2.1:8080", many...); err == nil && got == 200 {
		t.Error("5,000 headers were taken")
	}
	if got, err := s.ask("CONNECT", "10.244.2.1:8080"); err != nil || got != 200 {
		t.Errorf("afterwards an honest request: %d %v", got, err)
	}
}

func TestHandshakesThatAreWrong(t *testing.T) {
	m := shop(t)
	foreign, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true, TrustDomain: "evil.example"})
	if err != nil {
		t.Fatal(err)
	}
	past := &fixedClock{time.Now().Add(-48 * time.Hour)}
	old, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true, Clock: past})
	if err != nil {
		t.Fatal(err)
	}
	front := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "front"}
	evil := front
	evil.TrustDomain = "evil.example"
	for name, change := range map[string]func(*stranger){
		"no certificate":       func(s *stranger) { s.cert = nil },
		"unknown root":         func(s *stranger) { s.cert = certificate(t, foreign, front) },
		"self-signed":          func(s *stranger) { s.cert = selfSigned(t, front) },
		"another trust domain": func(s *stranger) { s.cert = certificate(t, elsewhere, evil) },
		"expired":              func(s *stranger) { s.cert = certificate(t, old, front) },
		"TLS 1.2":              func(s *stranger) { s.max = tls.VersionTLS12 },
		"no ALPN":              func(s *stranger) { s.alpn = nil },
		"HTTP/1.1":             func(s *stranger) { s.alpn = []string{"http/1.1"} },
	} {
		t.Run(name, func(t *testing.T) {
			s := m.stranger("front")
			change(s)
			// The client of TLS 1.3 believes to be done before the server has judged its certificate.
			if got, err := s.ask("CONNECT", "10.244.2.1:8080"); err == nil {
				t.Errorf("answered with %d", got)
			}
		})
	}
	if got, err := m.stranger("front").ask("CONNECT", "10.244.2.1:8080"); err != nil || got != 200 {
		t.Errorf("afterwards an honest client: %d %v", got, err)
	}
}

// selfSigned is a certificate that names an identity of the mesh on its own authority.
func selfSigned(t *testing.T, id identity.Identity) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(id.String())
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{uri}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// fixedClock stands still.
type fixedClock struct{ at time.Time }

func (c *fixedClock) Now() time.Time                         { return c.at }
func (c *fixedClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// An expired leaf of the right root: the CA signed it two days ago.
func TestExpiredCertificateOfOurRoot(t *testing.T) {
	dir := t.TempDir()
	clock := &fixedClock{time.Now().Add(-48 * time.Hour)}
	a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: dir, Create: true, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	m := newMeshOf(t, a)
	id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "front"}
	expired := certificate(t, a, id)
	clock.at = time.Now()
	m.shop()
	s := m.stranger("front")
	good := s.cert
	s.cert = expired
	var invalid x509.CertificateInvalidError
	_, verr := expired.Leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if !errors.As(verr, &invalid) || invalid.Reason != x509.Expired {
		t.Fatalf("the test's certificate is not merely expired: %v", verr)
	}
	if got, err := s.ask("CONNECT", "10.244.2.1:8080"); err == nil {
		t.Errorf("expired certificate: answered with %d", got)
	}
	s.cert = good
	if got, err := s.ask("CONNECT", "10.244.2.1:8080"); err != nil || got != 200 {
		t.Errorf("valid certificate: %d %v", got, err)
	}
}

func TestForwardedIsBelievedFromWaypointsOnly(t *testing.T) {
	m := shop(t)
	way := workload("n1", "way-1", "10.244.9.9")
	for _, c := range []struct {
		native bool
		sa     string
		from   string
		want   string
	}{
		{true, "way", "10.244.9.9", "10.1.2.3"},     // a waypoint
		{false, "way", "10.244.9.9", "10.244.9.9"},  // an ordinary pod
		{true, "front", "10.244.9.9", "10.244.9.9"}, // another identity at the waypoint's address
		{true, "way", "10.244.9.8", "10.244.9.8"},   // its identity at another address
	} {
		w := *way
		w.NativeTunnel = c.native
		m.apply(state.Delta{Workloads: []*model.Workload{&w}})
		s := m.stranger(c.sa)
		s.addr = c.from
		if got, err := s.ask("CONNECT", "10.244.2.1:8080", "forwarded", `for="10.1.2.3:4567"`); err != nil || got != 200 {
			t.Fatalf("%d %v", got, err)
		}
		if got := m.lastClient(); got != c.want {
			t.Errorf("%+v: the application saw %s", c, got)
		}
	}
}

// A tunnel's end that proves another identity than the configuration names is not talked to.
func TestWrongServerIdentity(t *testing.T) {
	m := shop(t)
	w := workload("n2", "cart-1", "10.244.2.1")
	w.ServiceAccount = "payments" // the pod at this address has the certificate of cart
	m.nodes["n1"].State.Apply(state.Delta{Workloads: []*model.Workload{w}})
	refused(t, m.pods["front-1"].app("10.244.2.1:8080"), 5*time.Second)
	if len(m.plainSeen) != 0 {
		t.Errorf("sent in plaintext to %v", m.plainSeen)
	}
	r := m.nodes["n1"].record(t, map[string]any{"direction": "outbound", "flags": "UF"})
	if r["security"] != "none" || r["dst_identity"] != nil {
		t.Errorf("claims an identity that was not verified: %v", r)
	}
}
