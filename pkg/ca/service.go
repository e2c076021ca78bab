package ca

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/pkg/identity"
)

// impersonated is the metadata field by which a node's ztunnel asks for a pod's identity.
const impersonated = "ImpersonatedIdentity"

// ServiceOptions configure NewService.
type ServiceOptions struct {
	// Authority that signs. Required.
	Authority *Authority
	// MayImpersonate decides whether a caller may have an identity that is not its own; nil refuses all.
	MayImpersonate func(Caller, identity.Identity) error
	// Observe, if set, is told of every request: who asked, for whom, and the error or nil.
	Observe func(Caller, identity.Identity, error)
	// Logger, default none.
	Logger *zap.Logger
}

// Service is istio.v1.auth.IstioCertificateService. It relies on the interceptors of this package
// (UnaryAuth) for who calls; a call that did not pass them is refused.
type Service struct {
	securityapi.UnimplementedIstioCertificateServiceServer
	o ServiceOptions
}

// NewService makes the service; Register puts it on a gRPC server.
func NewService(o ServiceOptions) *Service {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return &Service{o: o}
}

// Register puts the service on a gRPC server.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	securityapi.RegisterIstioCertificateServiceServer(r, s)
}

// CreateCertificate signs the CSR for the identity that the caller is, or may impersonate.
func (s *Service) CreateCertificate(ctx context.Context, req *securityapi.IstioCertificateRequest) (*securityapi.IstioCertificateResponse, error) {
	c, ok := CallerFrom(ctx)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, ErrUnauthenticated.Error())
	}
	id, chain, err := s.create(c, req)
	if s.o.Observe != nil {
		s.o.Observe(c, id, err)
	}
	if err != nil {
		s.o.Logger.Warn("certificate refused", zap.Stringer("caller", c), zap.Stringer("identity", id), zap.Error(err))
		return nil, status.Error(codeOf(err), err.Error())
	}
	s.o.Logger.Debug("certificate signed", zap.Stringer("caller", c), zap.Stringer("identity", id))
	return &securityapi.IstioCertificateResponse{CertChain: chain}, nil
}

// ErrMayNot is wrapped when a caller may not have an identity.
var ErrMayNot = errors.New("caller may not have this identity")

func (s *Service) create(c Caller, req *securityapi.IstioCertificateRequest) (identity.Identity, []string, error) {
	own := c.Identity(s.o.Authority.TrustDomain())
	id := own
	if v := req.GetMetadata().GetFields()[impersonated].GetStringValue(); v != "" {
		var err error
		if id, err = identity.Parse(v); err != nil {
			return identity.Identity{}, nil, fmt.Errorf("%w: %s: %w", ErrBadRequest, impersonated, err)
		}
	}
	if id != own {
		if s.o.MayImpersonate == nil {
			return id, nil, fmt.Errorf("%w: %s may only be itself", ErrMayNot, c)
		}
		if err := s.o.MayImpersonate(c, id); err != nil {
			return id, nil, fmt.Errorf("%w: %s asked for %s: %w", ErrMayNot, c, id, err)
		}
	}
	secs := req.GetValidityDuration()
	if secs < 0 || secs > int64((100*365*24*time.Hour)/time.Second) {
		return id, nil, fmt.Errorf("%w: validity_duration of %d seconds", ErrBadRequest, secs)
	}
	chain, err := s.o.Authority.Sign([]byte(req.GetCsr()), id, time.Duration(secs)*time.Second)
	return id, chain, err
}

// RefusalReason names in one word why a request was refused, for metrics.
func RefusalReason(err error) string {
	switch {
	case errors.Is(err, ErrMayNot):
		return "not_allowed"
	case errors.Is(err, ErrForeignIdentity):
		return "foreign_identity"
	case errors.Is(err, ErrBadRequest):
		return "bad_request"
	}
	return "internal"
}

func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, ErrMayNot), errors.Is(err, ErrForeignIdentity):
		return codes.PermissionDenied
	case errors.Is(err, ErrBadRequest):
		return codes.InvalidArgument
	}
	return codes.Internal
}
