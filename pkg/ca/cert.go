package ca

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// Cert is one workload's certificate with its key. It is never changed after it was made.
type Cert struct {
	Identity identity.Identity
	// TLS is what a handshake presents: leaf, intermediates, key.
	TLS tls.Certificate
	// Leaf is the parsed first certificate.
	Leaf *x509.Certificate
	// Roots that the CA named as trusted with this certificate; two while a rotation is under way.
	Roots []*x509.Certificate
	// Fetched is when it came; half of the time from then to NotAfter it is renewed.
	Fetched time.Time
}

// NotAfter is when the certificate stops being valid.
func (c *Cert) NotAfter() time.Time { return c.Leaf.NotAfter }

// ChainPEM is leaf and intermediates in PEM, for programs that read files.
func (c *Cert) ChainPEM() ([]byte, error) {
	var certs []*x509.Certificate
	for _, raw := range c.TLS.Certificate {
		x, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, fmt.Errorf("certificate of %s: %w", c.Identity, err)
		}
		certs = append(certs, x)
	}
	return EncodeCertificates(certs...), nil
}

// KeyPEM is the private key in PKCS#8 PEM.
func (c *Cert) KeyPEM() ([]byte, error) {
	key, ok := c.TLS.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("certificate of %s: its key cannot be written", c.Identity)
	}
	return encodePrivateKey(key)
}

// RootPEM is Roots in PEM.
func (c *Cert) RootPEM() []byte { return EncodeCertificates(c.Roots...) }

// newCert checks what a CA answered: it must be for our key and identity, be valid, and lead to the
// roots that came with it.
func newCert(id identity.Identity, key crypto.Signer, chain []string, now time.Time) (*Cert, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("the CA's answer for %s is unusable: %w", id, fmt.Errorf(format, args...))
	}
	if len(chain) < 2 {
		return nil, bad("%d certificates, want at least leaf and root", len(chain))
	}
	certs, err := ParseCertificates([]byte(strings.Join(chain[:len(chain)-1], "\n")))
	if err != nil {
		return nil, bad("%w", err)
	}
	roots, err := ParseCertificates([]byte(chain[len(chain)-1]))
	if err != nil {
		return nil, bad("root: %w", err)
	}
	pool := x509.NewCertPool()
	for _, r := range roots {
		pool.AddCert(r)
	}
	if !samePublicKey(certs[0].PublicKey, key.Public()) {
		return nil, bad("it is for another key")
	}
	if _, err := VerifyPeer(certs, PeerPolicy{Roots: pool, TrustDomain: id.TrustDomain, Now: now, Expected: []identity.Identity{id}}); err != nil {
		return nil, bad("%w", err)
	}
	c := &Cert{Identity: id, Leaf: certs[0], Roots: roots, Fetched: now, TLS: tls.Certificate{PrivateKey: key, Leaf: certs[0]}}
	for _, x := range certs {
		c.TLS.Certificate = append(c.TLS.Certificate, x.Raw)
	}
	return c, nil
}
