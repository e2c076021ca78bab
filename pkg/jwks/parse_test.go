package jwks_test

import (
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

	"github.com/weftmesh/weft/pkg/jwks"
)

func marshal(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What comes out holds the public keys that can verify, and nothing else.
func TestParse(t *testing.T) {
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jwks.Parse(marshal(t,
		jose.JSONWebKey{Key: rs.Public(), KeyID: "rs", Algorithm: "PS256"},
		jose.JSONWebKey{Key: ec.Public(), KeyID: "ec"},
		jose.JSONWebKey{Key: ed, KeyID: "ed", Use: "sig"},
		jose.JSONWebKey{Key: rs, KeyID: "private"},
		jose.JSONWebKey{Key: weak.Public(), KeyID: "weak"},
		jose.JSONWebKey{Key: []byte("secret"), KeyID: "oct"},
		jose.JSONWebKey{Key: rs.Public(), KeyID: "enc", Use: "enc"},
		jose.JSONWebKey{Key: ec.Public(), KeyID: "wrong", Algorithm: "RS256"},
	))
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(out), &set); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, k := range set.Keys {
		ids = append(ids, k.KeyID)
		if !k.IsPublic() || k.Use != "sig" {
			t.Errorf("key %s: public %v, use %q", k.KeyID, k.IsPublic(), k.Use)
		}
	}
	if got := strings.Join(ids, " "); got != "rs ec ed" {
		t.Errorf("kept %s", got)
	}
	again, err := jwks.Parse([]byte(out))
	if err != nil || again != out {
		t.Errorf("not the same again: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"nothing": "", "html": "<html>", "list": "[]", "no keys": "{}", "empty": `{"keys":[]}`, "null": `{"keys":null}`, "strings": `{"keys":["a"]}`,
		"not on the curve": `{"keys":[{"kty":"EC","crv":"P-256","x":"AAAA","y":"AAAA"}]}`,
		"garbage in n":     `{"keys":[{"kty":"RSA","n":"!!","e":"AQAB"}]}`,
		"huge":             `{"keys":[` + strings.Repeat(" ", jwks.MaxBytes) + `]}`,
	} {
		if out, err := jwks.Parse([]byte(in)); err == nil || out != "" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	if _, err := jwks.Parse([]byte(`{"keys":[]}`)); !errors.Is(err, jwks.ErrNoKeys) {
		t.Errorf("an empty set: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := jwks.Parse(in)
		if err != nil {
			return
		}
		if again, err := jwks.Parse([]byte(out)); err != nil || again != out {
			t.Errorf("%q is not read again: %v", out, err)
		}
	})
}
