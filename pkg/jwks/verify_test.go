package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

type pair struct {
	key crypto.Signer
	kid string
	alg jose.SignatureAlgorithm
}

func (p pair) sign(t *testing.T) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: p.alg, Key: jose.JSONWebKey{Key: p.key, KeyID: p.kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(`{"iss":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func setOf(t *testing.T, pairs ...pair) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, p := range pairs {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: p.key.Public(), KeyID: p.kid})
	}
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVerify(t *testing.T) {
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	es, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := setOf(t, pair{key: rs, kid: "rs"}, pair{key: es, kid: "es"}, pair{key: ed, kid: "ed"})
	for _, good := range []pair{{rs, "rs", jose.RS256}, {rs, "", jose.PS512}, {es, "es", jose.ES256}, {es, "", jose.ES256}, {ed, "ed", jose.EdDSA}} {
		if err := Verify(all, good.sign(t)); err != nil {
			t.Errorf("%s by key %q: %v", good.alg, good.kid, err)
		}
	}
	unnamed := setOf(t, pair{key: es})
	if err := Verify(unnamed, pair{es, "any", jose.ES256}.sign(t)); err != nil {
		t.Errorf("a key without an id: %v", err)
	}
	token := pair{es, "es", jose.ES256}.sign(t)
	other := strings.Split(pair{rs, "rs", jose.RS256}.sign(t), ".")
	for what, bad := range map[string]string{
		"another's key id":  pair{es, "rs", jose.ES256}.sign(t),
		"unknown key id":    pair{es, "new", jose.ES256}.sign(t),
		"changed payload":   strings.Replace(token, ".eyJpc3MiOiJ4In0.", ".eyJpc3MiOiJ5In0.", 1),
		"foreign signature": token[:strings.LastIndex(token, ".")+1] + other[2],
		"no signature":      token[:strings.LastIndex(token, ".")+1],
		"two parts":         "a.b",
		"alg none":          "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.",
	} {
		if err := Verify(all, bad); !errors.Is(err, ErrNotSigned) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
