package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// meshOf is a manager of a mesh of one trust domain.
func meshOf(t *testing.T, a *Authority) *Manager {
	t.Helper()
	return newManager(t, ManagerOptions{Issuer: direct{a}, TrustDomain: a.TrustDomain()})
}

func only(ids ...identity.Identity) []identity.Identity { return ids }

func TestMutualTLS(t *testing.T) {
	m := meshOf(t, openAuthority(t, AuthorityOptions{}))
	mustCert(t, m, cart)
	mustCert(t, m, catalog)
	server := m.ServerTLS(cart)
	var peer tls.ConnectionState
	verify := server.VerifyConnection
	server.VerifyConnection = func(cs tls.ConnectionState) error { peer = cs; return verify(cs) }
	if s, c := handshake(t, server, m.ClientTLS(catalog, only(catalog, cart))); s != nil || c != nil {
		t.Fatalf("server %v, client %v", s, c)
	}
	if id, err := identity.FromCertificate(peer.PeerCertificates[0]); err != nil || id != catalog {
		t.Errorf("server saw %v, %v; want %v", id, err, catalog)
	}
	if peer.ServerName != "" {
		t.Errorf("the client sent the server name %q", peer.ServerName)
	}
	if peer.DidResume {
		t.Error("resumed")
	}
}

// minted is a certificate that the authority would never sign.
func minted(t *testing.T, a *Authority, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	key := ecKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, URIs: []*url.URL{cart.URL()}}
	change(tmpl)
	m := a.now.Load()
	parent, signer := m.cert, m.key
	if tmpl.Issuer.CommonName == "self" {
		parent, signer = tmpl, crypto.Signer(key)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Peers whose certificates prove nothing are refused, whichever end they are.
func TestBadPeersAreRefused(t *testing.T) {
	a := openAuthority(t, AuthorityOptions{})
	m := meshOf(t, a)
	mustCert(t, m, cart)
	other := openAuthority(t, AuthorityOptions{TrustDomain: "other.example"})
	for name, tc := range map[string]struct {
		cert *tls.Certificate
		want error
	}{
		"expired": {minted(t, a, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), ErrPeerExpired},
		"not yet": {minted(t, a, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}), ErrPeerExpired},
		"self-signed":             {minted(t, a, func(c *x509.Certificate) { c.Issuer.CommonName = "self" }), ErrPeerUntrusted},
		"other mesh":              {minted(t, other, func(*x509.Certificate) {}), ErrPeerUntrusted},
		"other trust domain":      {minted(t, a, func(c *x509.Certificate) { c.URIs[0].Host = "other.example" }), ErrPeerTrustDomain},
		"no identity":             {minted(t, a, func(c *x509.Certificate) { c.URIs = nil; c.DNSNames = []string{"cart"} }), ErrPeerIdentity},
		"two identities":          {minted(t, a, func(c *x509.Certificate) { c.URIs = append(c.URIs, catalog.URL()) }), ErrPeerIdentity},
		"not a workload's":        {minted(t, a, func(c *x509.Certificate) { c.URIs[0].Path = "/cart" }), ErrPeerIdentity},
		"signs code only":         {minted(t, a, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), ErrPeerUntrusted},
		"signed by a leaf's name": {leafSigned(t, m), ErrPeerUntrusted},
	} {
		t.Run(name, func(t *testing.T) {
			peer := &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{*tc.cert}, ClientAuth: tls.RequestClientCert}
			if err, _ := handshake(t, m.ServerTLS(cart), peer); !errors.Is(err, ErrPeer) || !errors.Is(err, tc.want) {
				t.Errorf("our server: %v, want %v", err, tc.want)
			}
			if _, err := handshake(t, peer, m.ClientTLS(cart, only(cart))); !errors.Is(err, ErrPeer) || !errors.Is(err, tc.want) {
				t.Errorf("our client: %v, want %v", err, tc.want)
			}
		})
	}
}

// leafSigned abuses a workload's certificate as an authority.
func leafSigned(t *testing.T, m *Manager) *tls.Certificate {
	t.Helper()
	c := mustCert(t, m, catalog)
	key := ecKey(t)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(8), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), URIs: []*url.URL{cart.URL()}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.Leaf, key.Public(), c.TLS.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, c.Leaf.Raw}, PrivateKey: key}
}

func TestWhatIsNotTheMeshsTLS(t *testing.T) {
	m := meshOf(t, openAuthority(t, AuthorityOptions{}))
	own := mustCert(t, m, cart).TLS
	peer := func(change func(*tls.Config)) *tls.Config {
		c := &tls.Config{NextProtos: []string{"h2"}, InsecureSkipVerify: true, Certificates: []tls.Certificate{own}, ClientAuth: tls.RequireAnyClientCert}
		change(c)
		return c
	}
	for name, tc := range map[string]struct {
		change             func(*tls.Config)
		asServer, asClient string
	}{
		"TLS 1.2":     {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, "version", "version"},
		"TLS 1.1":     {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, "version", "version"},
		"no ALPN":     {func(c *tls.Config) { c.NextProtos = nil }, `ALPN ""`, `ALPN ""`},
		"ALPN http/1": {func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }, `ALPN ""`, "application protocol"},
	} {
		t.Run(name, func(t *testing.T) {
			if err, _ := handshake(t, m.ServerTLS(cart), peer(tc.change)); err == nil || !strings.Contains(err.Error(), tc.asServer) {
				t.Errorf("our server: %v, want an error that says %q", err, tc.asServer)
			}
			if _, err := handshake(t, peer(tc.change), m.ClientTLS(cart, only(cart))); err == nil || !strings.Contains(err.Error(), tc.asClient) {
				t.Errorf("our client: %v, want an error that says %q", err, tc.asClient)
			}
		})
	}
	t.Run("client without certificate", func(t *testing.T) {
		if err, _ := handshake(t, m.ServerTLS(cart), peer(func(c *tls.Config) { c.Certificates = nil })); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("got %v", err)
		}
	})
}

func TestClientExpectsExactly(t *testing.T) {
	m := meshOf(t, openAuthority(t, AuthorityOptions{}))
	mustCert(t, m, cart)
	mustCert(t, m, catalog)
	for name, expected := range map[string][]identity.Identity{
		"another": only(catalog), "nobody": nil,
		"same account elsewhere": only(identity.Identity{TrustDomain: "cluster.local", Namespace: "other", ServiceAccount: "cart"}),
	} {
		if _, err := handshake(t, m.ServerTLS(cart), m.ClientTLS(catalog, expected)); !errors.Is(err, ErrPeerIdentity) {
			t.Errorf("%s: got %v, want ErrPeerIdentity", name, err)
		}
	}
}

func TestWithoutOwnCertificateNothingIsSpoken(t *testing.T) {
	m := meshOf(t, openAuthority(t, AuthorityOptions{}))
	mustCert(t, m, cart)
	if err, _ := handshake(t, m.ServerTLS(catalog), m.ClientTLS(cart, only(catalog))); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("server without certificate: %v", err)
	}
	if _, err := handshake(t, m.ServerTLS(cart), m.ClientTLS(catalog, only(cart))); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("client without certificate: %v", err)
	}
}

// crypto/tls cannot offer a single TLS 1.3 suite, openssl can.
func TestOnlyAESGCM(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("openssl is not installed")
	}
	m := meshOf(t, openAuthority(t, AuthorityOptions{}))
	c := mustCert(t, m, cart)
	dir := t.TempDir()
	chain, err1 := c.ChainPEM()
	key, err2 := c.KeyPEM()
	if err := errors.Join(err1, err2, writeAll(file{dir + "/c.pem", chain, 0o600}, file{dir + "/k.pem", key, 0o600})); err != nil {
		t.Fatal(err)
	}
	for suite, good := range map[string]bool{"TLS_AES_128_GCM_SHA256": true, "TLS_AES_256_GCM_SHA384": true, "TLS_CHACHA20_POLY1305_SHA256": false} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
				err = tls.Server(conn, m.ServerTLS(cart)).Handshake()
			}
			errs <- err
		}()
		out, _ := exec.Command(openssl, "s_client", "-connect", l.Addr().String(), "-alpn", "h2", "-ciphersuites", suite,
			"-cert", dir+"/c.pem", "-key", dir+"/k.pem", "-brief").CombinedOutput()
		err = <-errs
		l.Close()
		if good != (err == nil) || (!good && !errors.Is(err, ErrPeerProtocol)) {
			t.Errorf("%s: server says %v\nopenssl says %s", suite, err, out)
		}
	}
}
