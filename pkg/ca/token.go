package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// TokenIssuer is the issuer in tokens that MintToken makes.
const TokenIssuer = "weft-controller"

// MintOptions configure MintToken.
type MintOptions struct {
	// KeyFile holds the PEM private key, ECDSA P-256, as CreateTokenKey writes it.
	KeyFile string
	// ServiceAccount is namespace/name.
	ServiceAccount string
	// Node and Pod bind the token; a ztunnel's must name its node, or it gets no identities.
	Node, Pod string
	// TTL of the token. Default 24 h.
	TTL time.Duration
	// Audience. Default TokenAudience.
	Audience string
	// Clock, default the machine's.
	Clock Clock
}

// MintToken makes a token shaped like a bound service-account token of Kubernetes, for bare Linux and the lab.
func MintToken(o MintOptions) (string, error) {
	ns, name, ok := strings.Cut(o.ServiceAccount, "/")
	if !ok || ns == "" || name == "" || strings.Contains(name, "/") {
		return "", fmt.Errorf("mint token: service account %q: want namespace/name", o.ServiceAccount)
	}
	if o.TTL == 0 {
		o.TTL = 24 * time.Hour
	}
	if o.TTL < 0 {
		return "", fmt.Errorf("mint token: lifetime %s is negative", o.TTL)
	}
	if o.Audience == "" {
		o.Audience = TokenAudience
	}
	b, err := os.ReadFile(o.KeyFile)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	signer, err := parsePrivateKey(b)
	if err != nil {
		return "", fmt.Errorf("mint token: %s: %w", o.KeyFile, err)
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return "", fmt.Errorf("mint token: %s: want an ECDSA P-256 key", o.KeyFile)
	}
	now := clockOr(o.Clock).Now()
	claims := tokenClaims{RegisteredClaims: jwt.RegisteredClaims{
		Issuer: TokenIssuer, Subject: "system:serviceaccount:" + ns + ":" + name, Audience: jwt.ClaimStrings{o.Audience},
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(o.TTL)),
	}}
	claims.Kubernetes.Namespace = ns
	claims.Kubernetes.ServiceAccount.Name = name
	if o.Node != "" {
		claims.Kubernetes.Node = &boundObject{Name: o.Node}
	}
	if o.Pod != "" {
		claims.Kubernetes.Pod = &boundObject{Name: o.Pod}
	}
	s, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return s, nil
}

// CreateTokenKey makes a P-256 key pair for tokens: the private key in path (mode 0600), the public
// one in path+".pub", which the controller verifies with. It never overwrites a key.
func CreateTokenKey(path string) error {
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("create token key: %s exists already", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create token key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("create token key: %w", err)
	}
	priv, err := encodePrivateKey(key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return errors.Join(errors.New("create token key"), err)
	}
	return writeAll(file{path, priv, 0o600},
		file{path + ".pub", pem.EncodeToMemory(&pem.Block{Type: pemPublicKey, Bytes: der}), 0o644})
}
