package ca

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/pkg/identity"
)

// ErrPeerProtocol is wrapped when a peer negotiated what the mesh does not speak.
var ErrPeerProtocol = errors.New("peer does not speak the mesh's TLS")

// ALPN is the only protocol inside the tunnel's TLS.
const ALPN = "h2"

// ServerTLS is the tls.Config with which a workload accepts tunnels: TLS 1.3 with AES-GCM, ALPN h2, a
// client certificate of the own trust domain that leads to the current roots. Certificate and roots
// are looked up at every handshake. The peer's identity is that of
// identity.FromCertificate(state.PeerCertificates[0]).
func (m *Manager) ServerTLS(id identity.Identity) *tls.Config {
	c := m.baseTLS()
	c.ClientAuth = tls.RequireAnyClientCert // verified in VerifyConnection, by our roots and clock
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return m.present(id) }
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		return m.verify(cs, PeerPolicy{Client: true})
	}
	return c
}

// ClientTLS is the tls.Config with which a workload opens a tunnel to one of the expected identities,
// and to nobody else; without any, every peer is refused. It sends no server name.
func (m *Manager) ClientTLS(id identity.Identity, expected []identity.Identity) *tls.Config {
	expected = slices.Clone(expected)
	c := m.baseTLS()
	c.InsecureSkipVerify = true //nolint:gosec // there is no host name to verify; VerifyConnection verifies chain and SPIFFE id
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return m.present(id) }
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		return m.verify(cs, PeerPolicy{Expected: expected})
	}
	return c
}

func (m *Manager) baseTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{ALPN},
		Time:       m.o.Clock.Now,
		// A resumed session would outlive its certificate and our look at it.
		SessionTicketsDisabled: true,
	}
}

func (m *Manager) present(id identity.Identity) (*tls.Certificate, error) {
	c, err := m.Current(id)
	if err != nil {
		return nil, err
	}
	return &c.TLS, nil
}

func (m *Manager) verify(cs tls.ConnectionState, p PeerPolicy) error {
	if err := checkProtocol(cs); err != nil {
		return err
	}
	p.Roots, _ = m.Roots()
	p.TrustDomain, p.Now = m.o.TrustDomain, m.o.Clock.Now()
	_, err := VerifyPeer(cs.PeerCertificates, p)
	return err
}

// checkProtocol refuses what crypto/tls cannot be told not to negotiate.
func checkProtocol(cs tls.ConnectionState) error {
	if cs.Version != tls.VersionTLS13 {
		return fmt.Errorf("%w: %s, want TLS 1.3", ErrPeerProtocol, tls.VersionName(cs.Version))
	}
	if cs.CipherSuite != tls.TLS_AES_128_GCM_SHA256 && cs.CipherSuite != tls.TLS_AES_256_GCM_SHA384 {
		return fmt.Errorf("%w: cipher suite %s, want AES-GCM (does one side's CPU lack AES instructions?)", ErrPeerProtocol, tls.CipherSuiteName(cs.CipherSuite))
	}
	if cs.NegotiatedProtocol != ALPN {
		return fmt.Errorf("%w: ALPN %q, want %q: is this a client of HBONE?", ErrPeerProtocol, cs.NegotiatedProtocol, ALPN)
	}
	return nil
}
