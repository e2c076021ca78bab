package ca

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}

// The document that a Kubernetes API server publishes under /openid/v1/jwks.
func jwksOf(t *testing.T, keys ...jwk) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTokensOfKubernetes(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ec := ecKey(t)
	point, err := ec.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	rsaJWK := jwk{Kty: "RSA", Kid: "r1", Use: "sig", N: b64(rsaKey.N.Bytes()), E: b64(big.NewInt(int64(rsaKey.E)).Bytes())}
	ecJWK := jwk{Kty: "EC", Kid: "e1", Crv: "P-256", X: b64(point[1:33]), Y: b64(point[33:])}
	if err := os.WriteFile(file, jwksOf(t, rsaJWK, jwk{Kty: "oct", Kid: "ignored"}), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := NewJWTAuthenticator(JWTOptions{KeyFile: file, Issuer: "https://kubernetes.default.svc"})
	if err != nil {
		t.Fatal(err)
	}
	token := func(m jwt.SigningMethod, kid, iss string, key any) string {
		c := tokenClaims{RegisteredClaims: jwt.RegisteredClaims{Issuer: iss, Subject: "system:serviceaccount:weft-system:weft-ztunnel",
			Audience: jwt.ClaimStrings{TokenAudience}, ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}}
		c.Kubernetes.Namespace, c.Kubernetes.ServiceAccount.Name = "weft-system", "weft-ztunnel"
		c.Kubernetes.Node, c.Kubernetes.Pod = &boundObject{Name: "n1"}, &boundObject{Name: "weft-ztunnel-x"}
		tok := jwt.NewWithClaims(m, c)
		tok.Header["kid"] = kid
		s, err := tok.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const iss = "https://kubernetes.default.svc"
	c, err := a.Verify(token(jwt.SigningMethodRS256, "r1", iss, rsaKey))
	if want := (Caller{Namespace: "weft-system", ServiceAccount: "weft-ztunnel", Node: "n1", Pod: "weft-ztunnel-x", Method: "token"}); err != nil || c != want {
		t.Errorf("RS256: %+v, %v; want %+v", c, err, want)
	}
	for name, tok := range map[string]string{
		"another kid":    token(jwt.SigningMethodRS256, "r2", iss, rsaKey),
		"another issuer": token(jwt.SigningMethodRS256, "r1", "https://evil.example", rsaKey),
		"key not there":  token(jwt.SigningMethodES256, "e1", iss, ec),
	} {
		if _, err := a.Verify(tok); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	// The API server's key was rotated: the file changes while we run.
	if err := os.WriteFile(file, jwksOf(t, ecJWK), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Verify(token(jwt.SigningMethodES256, "e1", iss, ec)); err != nil {
		t.Errorf("after rotation: %v", err)
	}
	if _, err := a.Verify(token(jwt.SigningMethodRS256, "r1", iss, rsaKey)); err == nil {
		t.Error("the old key is still accepted")
	}
}

func TestUnusableKeyFiles(t *testing.T) {
	private := filepath.Join(t.TempDir(), "k")
	if err := CreateTokenKey(private); err != nil {
		t.Fatal(err)
	}
	if err := CreateTokenKey(private); err == nil {
		t.Error("a key was overwritten")
	}
	priv, err := os.ReadFile(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		data []byte
		says string
	}{
		"empty":            {nil, "no public key"},
		"private key":      {priv, "private key"},
		"empty JWKS":       {[]byte(`{"keys":[]}`), "no public key"},
		"not on the curve": {jwksOf(t, jwk{Kty: "EC", Crv: "P-256", X: strings.Repeat("A", 43), Y: strings.Repeat("A", 43)}), "key 0"},
		"short modulus":    {jwksOf(t, jwk{Kty: "RSA", N: "AQAB", E: "AQAB"}), "too short"},
		"bad exponent":     {jwksOf(t, jwk{Kty: "RSA", N: "AQAB", E: "AQ"}), "exponent"},
		"JSON of sorts":    {[]byte(`[1]`), "JWKS"},
	} {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, tc.data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := NewJWTAuthenticator(JWTOptions{KeyFile: path}); err == nil || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%s: %v, want an error that says %q", name, err, tc.says)
		}
	}
}

func FuzzVerifyKeys(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := parseVerifyKeys(b)
		if err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
	})
}
