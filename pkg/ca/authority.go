package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/identity"
)

// Lifetimes of leaf certificates.
const (
	DefaultTTL = 24 * time.Hour
	MinTTL     = 30 * time.Second
)

// defaultReload is how long a step of a rotation may take until the controller knows of it.
const defaultReload = 10 * time.Second

// AuthorityOptions configure OpenAuthority.
type AuthorityOptions struct {
	// Dir holds the PEM files (see the package comment).
	Dir string
	// Create makes a root in Dir when there is none.
	Create bool
	// TrustDomain of every identity that is signed. Default identity.DefaultTrustDomain.
	TrustDomain string
	// TTL is the longest life of a leaf, and the one given when a caller asks for none. Default 24 h, at least 30 s.
	TTL time.Duration
	// ReloadEvery is how often Run looks for changed files. Default 10 s.
	ReloadEvery time.Duration
	// Clock, default the machine's.
	Clock Clock
	// Logger, default none.
	Logger *zap.Logger
}

// Authority signs certificates with the root of a folder. Safe for concurrent use.
type Authority struct {
	o   AuthorityOptions
	now atomic.Pointer[material] // replaced whole by Reload
}

// OpenAuthority loads, and with Create makes, the authority of a folder.
// The error wraps ErrNoRoot when there is none.
func OpenAuthority(o AuthorityOptions) (*Authority, error) {
	if o.TrustDomain == "" {
		o.TrustDomain = identity.DefaultTrustDomain
	}
	if o.TTL == 0 {
		o.TTL = DefaultTTL
	}
	if o.TTL < MinTTL {
		return nil, fmt.Errorf("certificate lifetime %s is too short: at least %s, so that renewal at half of it keeps up", o.TTL, MinTTL)
	}
	if o.ReloadEvery == 0 {
		o.ReloadEvery = defaultReload
	}
	o.Clock = clockOr(o.Clock)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	a := &Authority{o: o}
	err := a.Reload()
	if errors.Is(err, ErrNoRoot) && o.Create {
		if err := CreateRoot(o.Dir, o.TrustDomain, o.Clock.Now()); err != nil {
			return nil, err
		}
		err = a.Reload()
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// CreateRoot makes a self-signed root in dir. It never overwrites one, and leaves nothing behind when it fails.
func CreateRoot(dir, trustDomain string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create authority: %w", err)
	}
	for _, f := range []string{FileCert, FileKey} {
		if _, err := os.Stat(filepath.Join(dir, f)); err == nil {
			return fmt.Errorf("create authority: %s already exists in %s; remove it first if it is not used any more", f, dir)
		}
	}
	cert, key, err := newRoot(trustDomain, now)
	if err != nil {
		return fmt.Errorf("create authority: %w", err)
	}
	keyPEM, err := encodePrivateKey(key)
	if err != nil {
		return err
	}
	files := []file{
		{filepath.Join(dir, FileKey), keyPEM, 0o600},
		{filepath.Join(dir, FileRoots), EncodeCertificates(cert), 0o644},
		{filepath.Join(dir, FileCert), EncodeCertificates(cert), 0o644}, // last: its presence says "complete"
	}
	for i, f := range files {
		if err := f.write(); err != nil {
			for _, done := range files[:i] {
				_ = os.Remove(done.path)
			}
			return fmt.Errorf("create authority: %w", err)
		}
	}
	return nil
}

// Reload reads the folder again. On an error what was loaded before stays in use.
func (a *Authority) Reload() error {
	m, err := loadMaterial(a.o.Dir, a.o.Clock.Now())
	if err != nil {
		return err
	}
	old := a.now.Swap(m)
	if old == nil || !bytes.Equal(old.checksum, m.checksum) {
		a.o.Logger.Info("certificate authority loaded", zap.String("dir", a.o.Dir), zap.String("subject", m.cert.Subject.String()),
			zap.Time("expires", m.cert.NotAfter), zap.Int("trustedRoots", len(m.roots)))
	}
	return nil
}

// Run reloads the folder when it changes, until ctx ends.
func (a *Authority) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.o.Clock.After(a.o.ReloadEvery):
		}
		if err := a.Reload(); err != nil {
			a.o.Logger.Error("certificate authority not reloaded; the one loaded before stays in use", zap.Error(err))
		}
	}
}

// TrustDomain of the identities that are signed.
func (a *Authority) TrustDomain() string { return a.o.TrustDomain }

// TTL is the longest life of a leaf.
func (a *Authority) TTL() time.Duration { return a.o.TTL }

// Roots are the trusted roots: two while a rotation is under way. Not to be changed.
func (a *Authority) Roots() []*x509.Certificate { return a.now.Load().roots }

// RootPEM is Roots in PEM, the file that proxies start with.
func (a *Authority) RootPEM() []byte { return bytes.Clone(a.now.Load().rootPEM) }

// Pool is Roots as a pool. Not to be changed.
func (a *Authority) Pool() *x509.CertPool { return a.now.Load().pool }

// Signing is the certificate that signs.
func (a *Authority) Signing() *x509.Certificate { return a.now.Load().cert }

// leaf says what goes into a certificate.
type leaf struct {
	id  identity.Identity
	dns []string
	ips []net.IP
	ttl time.Duration // 0: the authority's
}

// sign makes a certificate over a public key. It lives ttl, but never longer than its issuer.
func (a *Authority) sign(pub crypto.PublicKey, l leaf) (*x509.Certificate, *material, error) {
	m, now := a.now.Load(), a.o.Clock.Now()
	if l.ttl == 0 || l.ttl > a.o.TTL {
		l.ttl = a.o.TTL
	}
	if !m.cert.NotAfter.After(now) {
		return nil, nil, fmt.Errorf("the authority's certificate expired at %s: run `weft-controller ca rotate`", m.cert.NotAfter.Format(time.RFC3339))
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	usage := x509.KeyUsageDigitalSignature
	if _, ok := pub.(*rsa.PublicKey); ok {
		usage |= x509.KeyUsageKeyEncipherment
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-ClockSkew), NotAfter: now.Add(l.ttl),
		KeyUsage: usage, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{l.id.URL()}, DNSNames: l.dns, IPAddresses: l.ips,
	}
	if tmpl.NotAfter.After(m.cert.NotAfter) {
		tmpl.NotAfter = m.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, m.cert, pub, m.key)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate of %s: %w", l.id, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("sign certificate of %s: %w", l.id, err)
	}
	return cert, m, nil
}

// ErrBadRequest is wrapped when a CSR cannot be signed for whomever it comes from.
var ErrBadRequest = errors.New("certificate request refused")

// ErrForeignIdentity is wrapped when a CSR names somebody else.
var ErrForeignIdentity = errors.New("certificate request names another identity")

// Sign answers a PEM CSR with a certificate of id: leaf, intermediates, and as the last element all
// trusted roots concatenated, which is how the peers of CreateCertificate expect them. Names in the
// CSR are not copied; they may only be id itself. ttl 0 means the authority's, longer ones are cut to it.
func (a *Authority) Sign(csrPEM []byte, id identity.Identity, ttl time.Duration) ([]string, error) {
	if ttl != 0 && ttl < MinTTL {
		return nil, fmt.Errorf("%w: lifetime %s is too short: ask for at least %s", ErrBadRequest, ttl, MinTTL)
	}
	if id.TrustDomain != a.o.TrustDomain {
		return nil, fmt.Errorf("%w: %s is not of trust domain %s", ErrForeignIdentity, id, a.o.TrustDomain)
	}
	if _, err := identity.Parse(id.String()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	csr, err := checkRequest(csrPEM, id)
	if err != nil {
		return nil, err
	}
	cert, m, err := a.sign(csr.PublicKey, leaf{id: id, ttl: ttl})
	if err != nil {
		return nil, err
	}
	out := []string{string(EncodeCertificates(cert))}
	for _, c := range m.chain {
		out = append(out, string(EncodeCertificates(c)))
	}
	return append(out, string(m.rootPEM)), nil
}

// publicKeyError explains why a key is not accepted, or is nil.
func publicKeyError(pub crypto.PublicKey) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve.Params().BitSize < 256 {
			return fmt.Errorf("curve %s is too weak: use P-256", k.Curve.Params().Name)
		}
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return fmt.Errorf("RSA key of %d bits is too short: use P-256, or RSA of 2048 bits", k.N.BitLen())
		}
	default:
		return fmt.Errorf("key type %T is not accepted: use ECDSA P-256, or RSA of 2048 bits", pub)
	}
	return nil
}
