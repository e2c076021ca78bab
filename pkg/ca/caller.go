package ca

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/identity"
)

// Caller is who speaks to the controller, proved by a token or a certificate.
type Caller struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	// Node and Pod bind a token to where it was given out; empty in certificates.
	Node   string `json:"node,omitempty"`
	Pod    string `json:"pod,omitempty"`
	PodUID string `json:"podUID,omitempty"`
	// Method is "token" or "certificate".
	Method string `json:"method"`
}

// Account is namespace/service-account.
func (c Caller) Account() string { return c.Namespace + "/" + c.ServiceAccount }

// Identity is the caller's own SPIFFE id.
func (c Caller) Identity(trustDomain string) identity.Identity {
	return identity.Identity{TrustDomain: trustDomain, Namespace: c.Namespace, ServiceAccount: c.ServiceAccount}
}

// String names the caller in logs and errors.
func (c Caller) String() string {
	s := c.Account()
	if c.Node != "" {
		s += " on node " + c.Node
	}
	return s
}

// Errors of authentication.
var (
	// ErrUnauthenticated is wrapped by every failure to prove who calls.
	ErrUnauthenticated = errors.New("caller not authenticated")
	// ErrNoCredentials is wrapped when the caller did not even try this way; Any then asks the next.
	ErrNoCredentials = errors.New("no credentials")
)

// Authenticator finds out who calls from the context of a gRPC call.
type Authenticator interface {
	// Authenticate returns the proved caller. Errors wrap ErrUnauthenticated.
	Authenticate(ctx context.Context) (Caller, error)
}

// Any asks authenticators in order; credentials that are present but wrong are refused at once.
func Any(as ...Authenticator) Authenticator { return anyOf(as) }

type anyOf []Authenticator

func (as anyOf) Authenticate(ctx context.Context) (Caller, error) {
	for _, a := range as {
		c, err := a.Authenticate(ctx)
		if err == nil || !errors.Is(err, ErrNoCredentials) {
			return c, err
		}
	}
	return Caller{}, fmt.Errorf("%w: %w: send a service-account token in `authorization: Bearer`, or present a client certificate of the mesh",
		ErrUnauthenticated, ErrNoCredentials)
}

type callerKey struct{}

// WithCaller returns a context that carries an authenticated caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns the caller that the interceptors authenticated.
func CallerFrom(ctx context.Context) (Caller, bool) {
	c, ok := ctx.Value(callerKey{}).(Caller)
	return c, ok
}

// UnaryAuth lets only authenticated calls through; handlers find the caller by CallerFrom.
func UnaryAuth(a Authenticator, log *zap.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		ctx, err := authenticate(ctx, a, log, info.FullMethod)
		if err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// StreamAuth is UnaryAuth for streams.
func StreamAuth(a Authenticator, log *zap.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		ctx, err := authenticate(ss.Context(), a, log, info.FullMethod)
		if err != nil {
			return err
		}
		return next(srv, &authedStream{ServerStream: ss, ctx: ctx})
	}
}

func authenticate(ctx context.Context, a Authenticator, log *zap.Logger, method string) (context.Context, error) {
	c, err := a.Authenticate(ctx)
	if err != nil {
		if log != nil {
			log.Warn("caller refused", zap.String("method", method), zap.String("peer", peerAddress(ctx)), zap.Error(err))
		}
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	return WithCaller(ctx, c), nil
}

type authedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *authedStream) Context() context.Context { return s.ctx }

func peerAddress(ctx context.Context) string {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return p.Addr.String()
	}
	return ""
}
