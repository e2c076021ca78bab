package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

const (
	// MaxBytes of a set that is read.
	MaxBytes = 256 << 10
	// maxKeys of a set that are used.
	maxKeys = 64
	// minRSA is the least length of an RSA key in bits.
	minRSA = 2048
)

// ErrNoKeys is wrapped by errors about a set without a key that could verify a token.
var ErrNoKeys = errors.New("no key in it could verify a token")

// Parse reads a JWKS and writes it anew with nothing in it but public keys for signatures that Envoy takes:
// RSA of at least 2048 bits, P-256, P-384, P-521 and Ed25519. Keys of other kinds are left out; secrets
// never get through. The error says why a set is of no use.
func Parse(data []byte) (string, error) {
	if len(data) > MaxBytes {
		return "", fmt.Errorf("the set is larger than %d KiB", MaxBytes>>10)
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return "", fmt.Errorf("not a JSON Web Key Set: %w", err)
	}
	if len(raw.Keys) == 0 {
		return "", fmt.Errorf("%w: the list keys is empty or missing", ErrNoKeys)
	}
	var out jose.JSONWebKeySet
	var left []string
	for i, r := range raw.Keys {
		k, err := usable(r)
		if err == nil && len(out.Keys) == maxKeys {
			err = fmt.Errorf("a set of more than %d keys", maxKeys)
		}
		if err != nil {
			left = append(left, fmt.Sprintf("key %d: %v", i, err))
			continue
		}
		out.Keys = append(out.Keys, k)
	}
	if len(out.Keys) == 0 {
		if len(left) > 3 {
			left = append(left[:3], "…")
		}
		return "", fmt.Errorf("%w (%s)", ErrNoKeys, strings.Join(left, "; "))
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "", fmt.Errorf("write the set: %w", err)
	}
	return string(text), nil
}

// usable returns the bare key.
func usable(raw json.RawMessage) (jose.JSONWebKey, error) {
	var k jose.JSONWebKey
	if err := json.Unmarshal(raw, &k); err != nil {
		return k, err
	}
	if k.Use != "" && k.Use != "sig" {
		return k, fmt.Errorf("is for %q, not for signatures", k.Use)
	}
	if !k.IsPublic() {
		return k, errors.New("is a secret: write the public key only, and replace this pair")
	}
	algs, err := algorithms(k.Key)
	if err != nil {
		return k, err
	}
	if k.Algorithm != "" && !strings.Contains(algs+" ", k.Algorithm+" ") {
		return k, fmt.Errorf("cannot be of algorithm %q", k.Algorithm)
	}
	return jose.JSONWebKey{Key: k.Key, KeyID: k.KeyID, Algorithm: k.Algorithm, Use: "sig"}, nil
}

// algorithms lists what a public key may verify.
func algorithms(key crypto.PublicKey) (string, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA {
			return "", fmt.Errorf("has %d bits, at least %d are safe", n, minRSA)
		}
		return "RS256 RS384 RS512 PS256 PS384 PS512", nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return "ES256", nil
		case elliptic.P384():
			return "ES384", nil
		case elliptic.P521():
			return "ES512", nil
		}
	case ed25519.PublicKey:
		return "EdDSA", nil
	}
	return "", fmt.Errorf("is of a kind that is not understood (%T)", key)
}
