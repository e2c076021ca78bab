// Package testmesh is a mesh in miniature for the tests of waypoints: a certificate authority, pods that
// speak HBONE with an application behind, a client that speaks HBONE as a ztunnel does, and a real Envoy
// fed over ADS and SDS. Everything lives on loopback addresses; root is not needed.
package testmesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"testing"
	"time"
)

// CA signs identities.
type CA struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	// Life of what Sign signs; 0 as asked for.
	Life time.Duration
}

// NewCA makes a root.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"test mesh"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &CA{t: t, cert: cert, key: key}
}

// RootPEM is the root's certificate.
func (ca *CA) RootPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.cert.Raw})
}

// PEM makes a certificate and key for a SPIFFE URI.
func (ca *CA) PEM(uri string) (cert, key []byte) {
	ca.t.Helper()
	return ca.pem(uri, time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
}

func (ca *CA) pem(uri string, from, until time.Time) (cert, key []byte) {
	u, err := url.Parse(uri)
	if err != nil {
		ca.t.Fatal(err)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	cert = ca.sign(&x509.Certificate{NotBefore: from, NotAfter: until, URIs: []*url.URL{u}}, k.Public())
	return cert, ca.keyPEM(k)
}

// Sign makes a certificate for somebody else's key.
func (ca *CA) Sign(uri string, pub any, life time.Duration) []byte {
	u, err := url.Parse(uri)
	if err != nil {
		ca.t.Error(err)
		return nil
	}
	if ca.Life > 0 {
		life = ca.Life
	}
	return ca.sign(&x509.Certificate{NotBefore: time.Now().Add(-time.Second), NotAfter: time.Now().Add(life), URIs: []*url.URL{u}}, pub)
}

// Host makes a server certificate for a DNS name.
func (ca *CA) Host(name string) tls.Certificate {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatal(err)
	}
	return ca.pair(ca.sign(&x509.Certificate{
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{name},
	}, k.Public()), ca.keyPEM(k))
}

func (ca *CA) sign(tmpl *x509.Certificate, pub any) []byte {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		ca.t.Error(err)
		return nil
	}
	tmpl.SerialNumber = serial
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.cert, pub, ca.key)
	if err != nil {
		ca.t.Error(err)
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (ca *CA) keyPEM(k *ecdsa.PrivateKey) []byte {
	b, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		ca.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: b})
}

// Pair makes a certificate for a SPIFFE URI.
func (ca *CA) Pair(uri string) tls.Certificate {
	ca.t.Helper()
	return ca.pair(ca.PEM(uri))
}

// Expired makes a certificate that was valid until a minute ago.
func (ca *CA) Expired(uri string) tls.Certificate {
	ca.t.Helper()
	return ca.pair(ca.pem(uri, time.Now().Add(-time.Hour), time.Now().Add(-time.Minute)))
}

func (ca *CA) pair(cert, key []byte) tls.Certificate {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		ca.t.Fatal(err)
	}
	return pair
}

func (ca *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// serverTLS is a pod's end of HBONE.
func (ca *CA) serverTLS(uri string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{ca.Pair(uri)}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}
}

// ClientTLS is a ztunnel's end of HBONE, expecting the waypoint by its SPIFFE URI.
func (ca *CA) ClientTLS(own tls.Certificate, expect string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		InsecureSkipVerify: true, // there is no host name; the chain and the URI are verified below
		VerifyConnection: func(cs tls.ConnectionState) error {
			leaf := cs.PeerCertificates[0]
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: ca.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
				return err
			}
			if len(leaf.URIs) != 1 || leaf.URIs[0].String() != expect {
				return fmt.Errorf("peer is %v, want %s", leaf.URIs, expect)
			}
			return nil
		},
	}
}
