package ca

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/pkg/identity"
)

// Issuer turns a CSR into a certificate chain: leaf first, trusted roots (one or several) as the last element, all PEM.
type Issuer interface {
	Issue(ctx context.Context, id identity.Identity, csrPEM []byte, ttl time.Duration) ([]string, error)
}

// Client asks a CA over gRPC: ours, or any that speaks istio.v1.auth.IstioCertificateService.
type Client struct {
	conn grpc.ClientConnInterface
	self identity.Identity
}

// NewClient asks over conn (see Dial). For identities other than self the request names the identity
// that it impersonates; a node proxy may leave self zero.
func NewClient(conn grpc.ClientConnInterface, self identity.Identity) *Client {
	return &Client{conn: conn, self: self}
}

// Issue calls CreateCertificate once. An unreachable CA fails at once with the cause; Manager tries again.
func (c *Client) Issue(ctx context.Context, id identity.Identity, csrPEM []byte, ttl time.Duration) ([]string, error) {
	req := &securityapi.IstioCertificateRequest{Csr: string(csrPEM), ValidityDuration: int64(ttl / time.Second)}
	if id != c.self {
		req.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{impersonated: structpb.NewStringValue(id.String())}}
	}
	resp, err := securityapi.NewIstioCertificateServiceClient(c.conn).CreateCertificate(ctx, req)
	if err != nil {
		return nil, fmt.Errorf("ask the CA for %s: %w", id, err)
	}
	return resp.GetCertChain(), nil
}
