package ca

import (
	"context"
	"fmt"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// PeerCertAuthenticator accepts the mesh certificate that a caller presented in the TLS handshake.
// It says nothing about the caller's node, so such a caller gets no identity but its own.
type PeerCertAuthenticator struct {
	// Authority whose roots and trust domain count.
	Authority *Authority
}

// Authenticate reads the peer's certificate of the connection. It must have been valid when the
// connection was made, which ServingTLS saw to; it may run out while the connection lives, since a
// peer that has a new one by then has no reason to reconnect.
func (p PeerCertAuthenticator) Authenticate(ctx context.Context) (Caller, error) {
	pr, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}, fmt.Errorf("%w: %w: no peer", ErrUnauthenticated, ErrNoCredentials)
	}
	info, ok := pr.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.PeerCertificates) == 0 {
		return Caller{}, fmt.Errorf("%w: %w: no client certificate", ErrUnauthenticated, ErrNoCredentials)
	}
	now := p.Authority.o.Clock.Now()
	if end := info.State.PeerCertificates[0].NotAfter; now.After(end) {
		now = end
	}
	id, err := VerifyPeer(info.State.PeerCertificates, p.Authority.clientPolicy(now))
	if err != nil {
		return Caller{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	return Caller{Namespace: id.Namespace, ServiceAccount: id.ServiceAccount, Method: "certificate"}, nil
}
