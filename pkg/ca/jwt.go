package ca

import (
	"context"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/metadata"
)

// TokenAudience is the audience of tokens for the controller.
const TokenAudience = "weft-ca"

// JWTOptions configure NewJWTAuthenticator.
type JWTOptions struct {
	// KeyFile holds the public keys: a JWKS document, or PEM. It is read again when a token does not
	// verify and the file has changed.
	KeyFile string
	// Fetch, instead of KeyFile, asks for the public keys, as the API server of Kubernetes publishes them. It
	// is asked again by Run, and when a token does not verify, but then not more often than every 5 s. While
	// it fails, the keys that came last are used.
	Fetch func(context.Context) ([]byte, error)
	// RefreshEvery is how often Run asks Fetch. Default 5 min.
	RefreshEvery time.Duration
	// Audience that tokens must be for. Default TokenAudience.
	Audience string
	// Issuer that tokens must name; empty accepts any.
	Issuer string
	// Clock, default the machine's.
	Clock Clock
}

// JWTAuthenticator verifies bound service-account tokens, the JWTs that Kubernetes projects into
// pods and that MintToken makes where there is no Kubernetes.
type JWTAuthenticator struct {
	o      JWTOptions
	parser *jwt.Parser

	fetching sync.Mutex // held while Fetch is asked; protects asked
	asked    time.Time

	mu      sync.Mutex // protects what follows
	keys    []verifyKey
	raw     []byte    // that keys were fetched as
	modTime time.Time // of the file that keys are from
}

// NewJWTAuthenticator loads the keys.
func NewJWTAuthenticator(o JWTOptions) (*JWTAuthenticator, error) {
	if o.Audience == "" {
		o.Audience = TokenAudience
	}
	o.Clock = clockOr(o.Clock)
	a := &JWTAuthenticator{o: o}
	opts := []jwt.ParserOption{
		jwt.WithValidMethods([]string{"ES256", "ES384", "RS256"}), jwt.WithAudience(o.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(ClockSkew), jwt.WithTimeFunc(o.Clock.Now),
	}
	if o.Issuer != "" {
		opts = append(opts, jwt.WithIssuer(o.Issuer))
	}
	a.parser = jwt.NewParser(opts...)
	if _, err := a.reload(); err != nil {
		return nil, err
	}
	return a, nil
}

// reload looks for other keys where a token does not fit.
func (a *JWTAuthenticator) reload() (changed bool, err error) {
	if a.o.Fetch != nil {
		return a.fetch(context.Background(), minFetch)
	}
	return a.readFile()
}

// readFile reads the key file if it has changed.
func (a *JWTAuthenticator) readFile() (changed bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fi, err := os.Stat(a.o.KeyFile)
	if err != nil {
		return false, fmt.Errorf("public keys of tokens: %w", err)
	}
	if fi.ModTime().Equal(a.modTime) {
		return false, nil
	}
	b, err := os.ReadFile(a.o.KeyFile)
	if err != nil {
		return false, fmt.Errorf("public keys of tokens: %w", err)
	}
	keys, err := parseVerifyKeys(b)
	if err != nil {
		return false, fmt.Errorf("public keys of tokens: %s: %w", a.o.KeyFile, err)
	}
	a.keys, a.modTime = keys, fi.ModTime()
	return true, nil
}

type boundObject struct {
	Name string `json:"name"`
	UID  string `json:"uid,omitempty"`
}

// tokenClaims is the shape of a bound service-account token.
type tokenClaims struct {
	jwt.RegisteredClaims
	Kubernetes struct {
		Namespace      string       `json:"namespace"`
		ServiceAccount boundObject  `json:"serviceaccount"`
		Node           *boundObject `json:"node,omitempty"`
		Pod            *boundObject `json:"pod,omitempty"`
	} `json:"kubernetes.io"`
}

// Authenticate reads the token of `authorization: Bearer`.
func (a *JWTAuthenticator) Authenticate(ctx context.Context) (Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	vals := md.Get("authorization")
	if len(vals) == 0 {
		return Caller{}, fmt.Errorf("%w: %w: no authorization header", ErrUnauthenticated, ErrNoCredentials)
	}
	scheme, token, _ := strings.Cut(vals[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || len(vals) > 1 {
		return Caller{}, fmt.Errorf("%w: want exactly one header of the form `authorization: Bearer <token>`", ErrUnauthenticated)
	}
	return a.Verify(strings.TrimSpace(token))
}

// Verify checks one token and returns whom it names. Errors wrap ErrUnauthenticated.
func (a *JWTAuthenticator) Verify(token string) (Caller, error) {
	claims, err := a.parse(token)
	if errors.Is(err, jwt.ErrTokenSignatureInvalid) || errors.Is(err, jwt.ErrTokenUnverifiable) {
		if changed, rerr := a.reload(); rerr == nil && changed {
			claims, err = a.parse(token)
		}
	}
	if err != nil {
		return Caller{}, fmt.Errorf("%w: token: %w%s", ErrUnauthenticated, err, tokenHint(err))
	}
	k := claims.Kubernetes
	c := Caller{Namespace: k.Namespace, ServiceAccount: k.ServiceAccount.Name, Method: "token"}
	if c.Namespace == "" || c.ServiceAccount == "" {
		return Caller{}, fmt.Errorf("%w: token has no kubernetes.io/serviceaccount claim: is it a bound service-account token?", ErrUnauthenticated)
	}
	if want := "system:serviceaccount:" + c.Namespace + ":" + c.ServiceAccount; claims.Subject != want {
		return Caller{}, fmt.Errorf("%w: token's subject is %q, its claims say %q", ErrUnauthenticated, claims.Subject, want)
	}
	if k.Node != nil {
		c.Node = k.Node.Name
	}
	if k.Pod != nil {
		c.Pod, c.PodUID = k.Pod.Name, k.Pod.UID
	}
	return c, nil
}

func (a *JWTAuthenticator) parse(token string) (*tokenClaims, error) {
	a.mu.Lock()
	keys := a.keys
	a.mu.Unlock()
	claims := &tokenClaims{}
	_, err := a.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		var set jwt.VerificationKeySet
		for _, k := range keys {
			if (k.id == "" || kid == "" || k.id == kid) && fits(t.Method, k) {
				set.Keys = append(set.Keys, k.pub)
			}
		}
		if len(set.Keys) == 0 {
			return nil, fmt.Errorf("no public key for algorithm %s and kid %q", t.Method.Alg(), kid)
		}
		return set, nil
	})
	return claims, err
}

func fits(m jwt.SigningMethod, k verifyKey) bool {
	switch pub := k.pub.(type) {
	case *ecdsa.PublicKey:
		em, ok := m.(*jwt.SigningMethodECDSA)
		return ok && em.CurveBits == pub.Curve.Params().BitSize
	case *rsa.PublicKey:
		_, ok := m.(*jwt.SigningMethodRSA)
		return ok
	}
	return false
}

func tokenHint(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return ": mint or mount a fresh one, or compare the clocks"
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return ": it was made for another service"
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return ": it was issued by another cluster"
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable):
		return ": it was signed by a key that is not among those that the controller knows"
	}
	return ""
}
