// Package identity names workloads by SPIFFE ids.
//
// Every workload of the mesh is spiffe://<trust domain>/ns/<namespace>/sa/<service account>
// (SPIFFE-ID 1.0; the path layout is that of Kubernetes service accounts, shared with other
// ambient meshes). An Identity is a comparable value and serves as a map key.
package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// DefaultTrustDomain is used where nothing else is configured.
const DefaultTrustDomain = "cluster.local"

// ErrInvalid is wrapped by every parse failure of this package.
var ErrInvalid = errors.New("not a workload identity")

// Identity is a workload's SPIFFE id in parts. The zero value means "no identity".
type Identity struct {
	TrustDomain    string `json:"trustDomain"`
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

// IsZero reports whether there is no identity.
func (i Identity) IsZero() bool { return i == Identity{} }

// String returns the SPIFFE URI, or "" without an identity.
func (i Identity) String() string {
	if i.IsZero() {
		return ""
	}
	return "spiffe://" + i.Principal()
}

// Principal is the SPIFFE URI without its scheme, the form policies are written in:
// cluster.local/ns/shop/sa/cart.
func (i Identity) Principal() string {
	if i.IsZero() {
		return ""
	}
	return i.TrustDomain + "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount
}

// URL returns the SPIFFE URI for a certificate's SAN.
func (i Identity) URL() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: i.TrustDomain, Path: "/ns/" + i.Namespace + "/sa/" + i.ServiceAccount}
}

// Parse reads a SPIFFE URI. Errors wrap ErrInvalid.
func Parse(uri string) (Identity, error) {
	id, err := spiffeid.FromString(uri)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %q: %w", ErrInvalid, uri, err)
	}
	parts := strings.Split(strings.TrimPrefix(id.Path(), "/"), "/")
	if len(parts) != 4 || parts[0] != "ns" || parts[2] != "sa" {
		return Identity{}, fmt.Errorf("%w: %q: want spiffe://<trust domain>/ns/<namespace>/sa/<service account>", ErrInvalid, uri)
	}
	return Identity{TrustDomain: id.TrustDomain().Name(), Namespace: parts[1], ServiceAccount: parts[3]}, nil
}

// FromCertificate reads the identity of a verified leaf: exactly one URI SAN (X.509-SVID, section 2).
func FromCertificate(leaf *x509.Certificate) (Identity, error) {
	if leaf == nil {
		return Identity{}, fmt.Errorf("%w: no certificate", ErrInvalid)
	}
	if len(leaf.URIs) != 1 {
		return Identity{}, fmt.Errorf("%w: certificate has %d URI names, an X.509-SVID has exactly one", ErrInvalid, len(leaf.URIs))
	}
	return Parse(leaf.URIs[0].String())
}
