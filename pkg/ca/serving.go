package ca

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// ServingOptions configure Authority.ServingTLS.
type ServingOptions struct {
	// Identity of the server, e.g. weft-system/weft-controller.
	Identity identity.Identity
	// DNSNames and IPs by which clients address it; IPs for bare Linux and the lab.
	DNSNames []string
	IPs      []net.IP
}

// ServingTLS returns the tls.Config of the controller's own server: TLS 1.3, a certificate signed by
// this authority that renews itself at half its life or when the authority changes. A client
// certificate is not demanded, but one that is presented must be of this mesh (see PeerCertAuthenticator).
func (a *Authority) ServingTLS(o ServingOptions) *tls.Config {
	s := &servingCert{a: a, o: o}
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		NextProtos:     []string{"h2"},
		ClientAuth:     tls.RequestClientCert,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.get() },
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return nil
			}
			_, err := VerifyPeer(cs.PeerCertificates, a.clientPolicy(a.o.Clock.Now()))
			return err
		},
		// A resumed session would skip the look at the client's certificate.
		SessionTicketsDisabled: true,
	}
}

// clientPolicy accepts every workload of this mesh.
func (a *Authority) clientPolicy(now time.Time) PeerPolicy {
	return PeerPolicy{Roots: a.Pool(), TrustDomain: a.o.TrustDomain, Now: now, Client: true}
}

type servingCert struct {
	a *Authority
	o ServingOptions

	mu     sync.Mutex // protects what follows
	cert   *tls.Certificate
	signer []byte    // the issuer it was signed by
	renew  time.Time // when half its life is over
}

func (s *servingCert) get() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.a.o.Clock.Now()
	if s.cert != nil && now.Before(s.renew) && string(s.signer) == string(s.a.Signing().Raw) {
		return s.cert, nil
	}
	key, _, err := NewRequest(s.o.Identity)
	if err != nil {
		return nil, err
	}
	cert, m, err := s.a.sign(key.Public(), leaf{id: s.o.Identity, dns: s.o.DNSNames, ips: s.o.IPs})
	if err != nil {
		return nil, err
	}
	tc := &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
	for _, c := range m.chain {
		tc.Certificate = append(tc.Certificate, c.Raw)
	}
	s.cert, s.signer, s.renew = tc, m.cert.Raw, now.Add(cert.NotAfter.Sub(now)/2)
	return s.cert, nil
}
