package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"

	"github.com/weftmesh/weft/pkg/identity"
)

// maxRequest bounds a CSR: one with an RSA key of 4096 bits has about 1700 bytes.
const maxRequest = 16 << 10

// NewRequest makes a P-256 key and a PEM CSR for id.
func NewRequest(id identity.Identity) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make key of %s: %w", id, err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URL()}}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make certificate request of %s: %w", id, err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: pemRequest, Bytes: der}), nil
}

// checkRequest reads a CSR and refuses names that are not id, weak keys and wrong signatures.
func checkRequest(csrPEM []byte, id identity.Identity) (*x509.CertificateRequest, error) {
	if len(csrPEM) > maxRequest {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrBadRequest, len(csrPEM), maxRequest)
	}
	block, _ := pem.Decode(csrPEM)
	if block == nil || block.Type != pemRequest {
		return nil, fmt.Errorf("%w: not a PEM block of type %s", ErrBadRequest, pemRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: its signature does not match its key: %w", ErrBadRequest, err)
	}
	if err := publicKeyError(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	for _, u := range csr.URIs {
		if u.String() != id.String() {
			return nil, fmt.Errorf("%w: it asks for %s, but the caller may have %s", ErrForeignIdentity, u, id)
		}
	}
	if n := len(csr.DNSNames) + len(csr.IPAddresses) + len(csr.EmailAddresses); n > 0 {
		return nil, fmt.Errorf("%w: it asks for DNS, IP or e-mail names; a workload has only its SPIFFE id", ErrForeignIdentity)
	}
	return csr, nil
}
