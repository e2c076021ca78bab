package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Names of the files in an authority's folder.
const (
	FileCert  = "ca-cert.pem"
	FileKey   = "ca-key.pem"
	FileRoots = "root-cert.pem"
	FileChain = "cert-chain.pem"
)

// RootTTL is how long a self-made root lives.
const RootTTL = 10 * 365 * 24 * time.Hour

// ErrNoRoot is wrapped when the folder holds no authority.
var ErrNoRoot = errors.New("no certificate authority here")

// material is what an authority's folder holds, checked. It is never changed after loading.
type material struct {
	cert     *x509.Certificate
	key      crypto.Signer
	roots    []*x509.Certificate
	chain    []*x509.Certificate // between leaf and root, sent with every certificate
	rootPEM  []byte
	pool     *x509.CertPool
	checksum []byte // of the files, to notice changes
}

func loadMaterial(dir string, now time.Time) (*material, error) {
	if err := healPromotion(dir); err != nil {
		return nil, err
	}
	m := &material{}
	read := func(name string) ([]byte, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		m.checksum = append(append(m.checksum, name...), b...)
		return b, err
	}
	certPEM, err := read(FileCert)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no %s: create one with `weft-controller ca init`, or put your own there", ErrNoRoot, dir, FileCert)
	} else if err != nil {
		return nil, fmt.Errorf("read authority: %w", err)
	}
	keyPEM, err := read(FileKey)
	if err != nil {
		return nil, fmt.Errorf("read the authority's key: %w", err)
	}
	rootPEM, err := read(FileRoots)
	if errors.Is(err, fs.ErrNotExist) {
		rootPEM = certPEM
	} else if err != nil {
		return nil, fmt.Errorf("read trusted roots: %w", err)
	}
	chainPEM, err := read(FileChain)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read intermediates: %w", err)
	}
	if err := m.parse(dir, certPEM, keyPEM, rootPEM, chainPEM); err != nil {
		return nil, err
	}
	return m, m.check(dir, now)
}

func (m *material) parse(dir string, certPEM, keyPEM, rootPEM, chainPEM []byte) (err error) {
	in := func(name string, err error) error { return fmt.Errorf("%s: %w", filepath.Join(dir, name), err) }
	certs, err := ParseCertificates(certPEM)
	if err != nil {
		return in(FileCert, err)
	}
	m.cert = certs[0]
	if m.key, err = parsePrivateKey(keyPEM); err != nil {
		return in(FileKey, err)
	}
	if m.roots, err = ParseCertificates(rootPEM); err != nil {
		return in(FileRoots, err)
	}
	chain := certs[1:]
	if len(chainPEM) > 0 {
		more, err := ParseCertificates(chainPEM)
		if err != nil {
			return in(FileChain, err)
		}
		chain = append(chain, more...)
	}
	m.pool = x509.NewCertPool()
	for _, r := range m.roots {
		m.pool.AddCert(r)
	}
	m.rootPEM = EncodeCertificates(m.roots...)
	if !m.isRoot(m.cert) {
		m.chain = append(m.chain, m.cert)
	}
	for _, c := range chain {
		if !m.isRoot(c) && !c.Equal(m.cert) {
			m.chain = append(m.chain, c)
		}
	}
	return nil
}

func (m *material) isRoot(c *x509.Certificate) bool {
	for _, r := range m.roots {
		if bytes.Equal(r.Raw, c.Raw) {
			return true
		}
	}
	return false
}

// check refuses an authority whose signatures nobody would accept.
func (m *material) check(dir string, now time.Time) error {
	path := filepath.Join(dir, FileCert)
	switch {
	case !m.cert.IsCA || (m.cert.KeyUsage != 0 && m.cert.KeyUsage&x509.KeyUsageCertSign == 0):
		return fmt.Errorf("%s is not a certificate authority (it needs basicConstraints CA:TRUE and key usage certSign)", path)
	case !samePublicKey(m.cert.PublicKey, m.key.Public()):
		return fmt.Errorf("%s in %s does not belong to %s: are they from different authorities?", FileKey, dir, FileCert)
	case now.After(m.cert.NotAfter):
		return fmt.Errorf("%s expired at %s: bring a new one, or run `weft-controller ca rotate`", path, m.cert.NotAfter.Format(time.RFC3339))
	}
	mids := x509.NewCertPool()
	for _, c := range m.chain {
		mids.AddCert(c)
	}
	_, err := m.cert.Verify(x509.VerifyOptions{Roots: m.pool, Intermediates: mids, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("%s does not lead to a root in %s: %w", path, FileRoots, err)
	}
	return nil
}

// newRoot makes a self-signed root for a trust domain.
func newRoot(trustDomain string, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make root key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{trustDomain}, CommonName: "weft root " + now.UTC().Format("2006-01-02")},
		NotBefore: now.Add(-ClockSkew), NotAfter: now.Add(RootTTL),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		URIs:     []*url.URL{{Scheme: "spiffe", Host: trustDomain}},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign root: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("sign root: %w", err)
	}
	return cert, key, nil
}

func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}
