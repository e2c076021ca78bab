package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
)

// verifyKey is one public key that tokens may be signed with.
type verifyKey struct {
	id  string // kid; "" matches every token
	pub crypto.PublicKey
}

// parseVerifyKeys reads a JWKS document, or PEM public keys or certificates. Only signature keys of
// kinds that tokens use (ECDSA on P-256 and P-384, RSA from 2048 bits) are returned; at least one.
func parseVerifyKeys(data []byte) ([]verifyKey, error) {
	var keys []verifyKey
	var err error
	if json.Valid(data) {
		keys, err = parseJWKS(data)
	} else {
		keys, err = parsePEMKeys(data)
	}
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if err := publicKeyError(k.pub); err != nil {
			return nil, fmt.Errorf("key %q: %w", k.id, err)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no public key found: give a JWKS document, or PEM blocks of type PUBLIC KEY")
	}
	return keys, nil
}

func parsePEMKeys(data []byte) ([]verifyKey, error) {
	var keys []verifyKey
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case pemPublicKey:
			pub, err := x509.ParsePKIXPublicKey(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("public key %d: %w", len(keys)+1, err)
			}
			keys = append(keys, verifyKey{pub: pub})
		case pemCertificate:
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("certificate %d: %w", len(keys)+1, err)
			}
			keys = append(keys, verifyKey{pub: c.PublicKey})
		case pemPrivateKey, "EC PRIVATE KEY", "RSA PRIVATE KEY":
			return nil, errors.New("this is a private key; the controller needs only the public one")
		}
	}
	return keys, nil
}

// jwk holds the members of RFC 7517 and 7518 that signature keys use.
type jwk struct {
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Use string `json:"use"`
	Crv string `json:"crv"`
	X   string `json:"x"`
	Y   string `json:"y"`
	N   string `json:"n"`
	E   string `json:"e"`
}

func parseJWKS(data []byte) ([]verifyKey, error) {
	var doc struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("JWKS: %w", err)
	}
	var keys []verifyKey
	for i, k := range doc.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		pub, err := k.public()
		if err != nil {
			return nil, fmt.Errorf("JWKS: key %d (kid %q): %w", i, k.Kid, err)
		}
		if pub != nil {
			keys = append(keys, verifyKey{id: k.Kid, pub: pub})
		}
	}
	return keys, nil
}

// public decodes the key; nil for kinds that are not used.
func (k jwk) public() (crypto.PublicKey, error) {
	switch k.Kty {
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[k.Crv]
		if curve == nil {
			return nil, nil
		}
		x, errX := base64.RawURLEncoding.DecodeString(k.X)
		y, errY := base64.RawURLEncoding.DecodeString(k.Y)
		size := (curve.Params().BitSize + 7) / 8
		if errors.Join(errX, errY) != nil || len(x) != size || len(y) != size {
			return nil, fmt.Errorf("x and y must be base64url of %d bytes each", size)
		}
		return ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	case "RSA":
		n, errN := base64.RawURLEncoding.DecodeString(k.N)
		e, errE := base64.RawURLEncoding.DecodeString(k.E)
		exp := new(big.Int).SetBytes(e)
		if errors.Join(errN, errE) != nil || !exp.IsInt64() || exp.Int64() < 3 || exp.Int64() > 1<<31-1 {
			return nil, errors.New("n and e must be base64url of the modulus and of an exponent from 3 up")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exp.Int64())}, nil
	}
	return nil, nil
}
