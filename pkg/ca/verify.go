package ca

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// Why a peer's certificate is refused; VerifyPeer's errors wrap ErrPeer and one of the others.
var (
	ErrPeer            = errors.New("peer's certificate refused")
	ErrPeerNone        = errors.New("none was presented")
	ErrPeerExpired     = errors.New("not valid now")
	ErrPeerUntrusted   = errors.New("not signed by a root of this mesh")
	ErrPeerTrustDomain = errors.New("of another trust domain")
	ErrPeerIdentity    = errors.New("not the expected identity")
)

// PeerPolicy says which peers are accepted.
type PeerPolicy struct {
	// Roots that are trusted; nil trusts nobody.
	Roots *x509.CertPool
	// TrustDomain the peer must be of.
	TrustDomain string
	// Now decides about expiry.
	Now time.Time
	// Client says that the peer is the TLS client (extended key usage clientAuth), else the server.
	Client bool
	// Expected, when Any is false, holds the identities of which the peer must be one; empty refuses everybody.
	Expected []identity.Identity
	// AnyIdentity accepts every identity of the trust domain. Implied for clients.
	AnyIdentity bool
}

// VerifyPeer checks a peer's chain (leaf first) and returns whom it proves.
func VerifyPeer(chain []*x509.Certificate, p PeerPolicy) (identity.Identity, error) {
	if len(chain) == 0 {
		return identity.Identity{}, fmt.Errorf("%w: %w: the mesh speaks mutual TLS only", ErrPeer, ErrPeerNone)
	}
	leaf := chain[0]
	if err := verifyChain(chain, p); err != nil {
		return identity.Identity{}, err
	}
	id, err := identity.FromCertificate(leaf)
	if err != nil {
		return identity.Identity{}, fmt.Errorf("%w: %w: %w", ErrPeer, ErrPeerIdentity, err)
	}
	if id.TrustDomain != p.TrustDomain {
		return identity.Identity{}, fmt.Errorf("%w: %w: it is %s, this mesh is %s", ErrPeer, ErrPeerTrustDomain, id, p.TrustDomain)
	}
	if !p.Client && !p.AnyIdentity && !slices.Contains(p.Expected, id) {
		return identity.Identity{}, fmt.Errorf("%w: %w: it is %s, expected %v; was the address given to another pod meanwhile?",
			ErrPeer, ErrPeerIdentity, id, p.Expected)
	}
	return id, nil
}

func verifyChain(chain []*x509.Certificate, p PeerPolicy) error {
	leaf := chain[0]
	if p.Roots == nil {
		return fmt.Errorf("%w: %w: no roots are known yet", ErrPeer, ErrPeerUntrusted)
	}
	if p.Now.After(leaf.NotAfter) || p.Now.Before(leaf.NotBefore) {
		return fmt.Errorf("%w: %w: valid from %s to %s, now it is %s; does the peer still reach its CA, and are the clocks right?", ErrPeer, ErrPeerExpired,
			leaf.NotBefore.Format(time.RFC3339), leaf.NotAfter.Format(time.RFC3339), p.Now.Format(time.RFC3339))
	}
	mids := x509.NewCertPool()
	for _, c := range chain[1:] {
		mids.AddCert(c)
	}
	usage := x509.ExtKeyUsageServerAuth
	if p.Client {
		usage = x509.ExtKeyUsageClientAuth
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: p.Roots, Intermediates: mids, CurrentTime: p.Now, KeyUsages: []x509.ExtKeyUsage{usage}})
	if err != nil {
		return fmt.Errorf("%w: %w: %w (issuer %q)", ErrPeer, ErrPeerUntrusted, err, leaf.Issuer)
	}
	return nil
}
