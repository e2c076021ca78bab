package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// authority is a certificate authority outside the mesh.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "outside"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

func (a *authority) leaf(names ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// outside adds a service whose one endpoint is no pod, and which speaks nothing but TLS: HTTP behind port 80, its
// name behind port 9000.
func (m *mesh) outside(cert tls.Certificate) {
	m.t.Helper()
	m.outsideTLS(&tls.Config{Certificates: []tls.Certificate{cert}})
}

func (m *mesh) outsideTLS(cfg *tls.Config) {
	m.t.Helper()
	const httpsPort, greetPort = 8443, 9443
	addr := m.addr(200)
	cfg.NextProtos = []string{"h2", "http/1.1"}
	ln, err := tls.Listen("tcp", netip.AddrPortFrom(addr, httpsPort).String(), cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Server-Name", r.TLS.ServerName)
		for _, peer := range r.TLS.PeerCertificates {
			for _, uri := range peer.URIs {
				w.Header().Set("X-Client", uri.String())
			}
		}
		_, _ = w.Write([]byte("{}"))
	})}
	go func() { _ = srv.Serve(ln) }()
	m.t.Cleanup(func() { srv.Close() })
	raw, err := tls.Listen("tcp", netip.AddrPortFrom(addr, greetPort).String(), cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { raw.Close() })
	go greet(raw, "outside")
	s := m.service("api", "10.96.0.7")
	s.Ports = []model.Port{{ServicePort: 80, TargetPort: httpsPort, App: model.AppHTTP}, {ServicePort: 9000, TargetPort: greetPort, App: model.AppTCP}}
	w := &model.Workload{UID: "test//outside/api", Name: "api", Namespace: "shop", Addresses: []netip.Addr{addr}, Services: map[string][]model.Port{s.Key(): s.Ports}}
	m.snap.Workloads.Set(w.UID, w)
}

// Endpoints outside the mesh are called by TLS as asked, and by nothing else where that cannot be had.
func TestBackendTLS(t *testing.T) {
	m := newMesh(t)
	ca, foreign := newAuthority(t), newAuthority(t)
	m.outside(ca.leaf("api.example", "*.wild.example"))
	at := model.Target{Service: "shop/api.shop.svc.cluster.local"}
	c := m.client.HTTP(t, "10.96.0.7:80")
	use := func(how *model.BackendTLS) {
		t.Helper()
		m.traffic("api", at, &model.TrafficPolicy{TLS: how})
	}
	use(&model.BackendTLS{ServerName: "api.example", Roots: ca.pem})
	m.statusIs(200, c, "GET", "/")
	if _, _, h, err := ask(c, "GET", "/"); err != nil || h.Get("X-Server-Name") != "api.example" {
		t.Errorf("the server was asked for %q, %v", h.Get("X-Server-Name"), err)
	}
	m.eventually("connections that are not read go by TLS, too", func() error {
		tun, err := m.client.Dial(context.Background(), "10.96.0.7:9000")
		if err != nil {
			return err
		}
		defer tun.Close()
		_ = tun.SetReadDeadline(time.Now().Add(5 * time.Second))
		buf := make([]byte, 64)
		n, err := tun.Read(buf)
		if err != nil {
			return err
		}
		return want(string(buf[:n]), "outside\n")
	})
	use(&model.BackendTLS{ServerName: "api.example", Roots: foreign.pem})
	m.statusIs(503, c, "GET", "/")
	use(&model.BackendTLS{ServerName: "a.wild.example", Roots: ca.pem})
	m.statusIs(200, c, "GET", "/")
	use(&model.BackendTLS{ServerName: "other.example", Roots: ca.pem})
	m.statusIs(503, c, "GET", "/")
	use(&model.BackendTLS{ServerName: "other.example", Names: []string{"spiffe://example/x", "api.example"}, Roots: ca.pem})
	m.statusIs(200, c, "GET", "/")
	use(&model.BackendTLS{ServerName: "api.example", Roots: ca.pem, Broken: "the roots are gone"})
	m.statusIs(503, c, "GET", "/")
	use(&model.BackendTLS{ServerName: "api.example"}) // the public roots do not know this authority
	m.statusIs(503, c, "GET", "/")
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
	// pods in the mesh are called as ever
	m.traffic("cart", cartService, &model.TrafficPolicy{TLS: &model.BackendTLS{ServerName: "api.example", Roots: foreign.pem}})
	m.statusIs(200, m.http, "GET", "/")
}

// A server that wants to know who calls is shown the waypoint's own certificate, where that is asked for.
func TestBackendTLSClientCertificate(t *testing.T) {
	m := newMesh(t)
	ca := newAuthority(t)
	mesh := x509.NewCertPool()
	mesh.AppendCertsFromPEM(m.ca.RootPEM())
	m.outsideTLS(&tls.Config{Certificates: []tls.Certificate{ca.leaf("api.example")}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: mesh})
	at := model.Target{Service: "shop/api.shop.svc.cluster.local"}
	c := m.client.HTTP(t, "10.96.0.7:80")
	m.traffic("api", at, &model.TrafficPolicy{TLS: &model.BackendTLS{ServerName: "api.example", Roots: ca.pem}})
	m.statusIs(503, c, "GET", "/")
	m.traffic("api", at, &model.TrafficPolicy{TLS: &model.BackendTLS{ServerName: "api.example", Roots: ca.pem, Identity: true}})
	m.statusIs(200, c, "GET", "/")
	if _, _, h, err := ask(c, "GET", "/"); err != nil || h.Get("X-Client") != waypoint {
		t.Errorf("the server was called by %q, %v", h.Get("X-Client"), err)
	}
	m.envoy.SetCertificate(m.ca, waypoint) // renewed
	m.traffic("api", at, &model.TrafficPolicy{TLS: &model.BackendTLS{ServerName: "api.example", Roots: ca.pem, Identity: true, Broken: "the roots are gone"}})
	m.statusIs(503, c, "GET", "/")
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// A policy that Envoy refuses does not open the way in clear.
func TestBackendTLSRefused(t *testing.T) {
	m := newMeshIsolated(t)
	m.outside(newAuthority(t).leaf("api.example"))
	m.traffic("api", model.Target{Service: "shop/api.shop.svc.cluster.local"}, &model.TrafficPolicy{TLS: &model.BackendTLS{ServerName: "api.example", Roots: "no certificate"}})
	m.statusIs(503, m.client.HTTP(t, "10.96.0.7:80"), "GET", "/")
	m.statusIs(200, m.http, "GET", "/")
}
