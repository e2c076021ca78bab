package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/pkg/jwks"
	"github.com/weftmesh/weft/pkg/model"
)

const idp = "https://login.example"

// signer issues tokens, as an identity provider does.
type signer struct {
	t   *testing.T
	kid string
	alg jwt.SigningMethod
	key crypto.Signer
	iss string
}

func newRSA(t *testing.T, kid string) *signer {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t: t, kid: kid, alg: jwt.SigningMethodRS256, key: k, iss: idp}
}

func newEC(t *testing.T, kid string) *signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{t: t, kid: kid, alg: jwt.SigningMethodES256, key: k, iss: idp}
}

// keySet is the signers' public keys, as Weft hands them to Envoy.
func keySet(t *testing.T, signers ...*signer) string {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, s := range signers {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: s.key.Public(), KeyID: s.kid, Algorithm: s.alg.Alg(), Use: "sig"})
	}
	raw, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jwks.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// token has sub user, aud shop and an hour to live, unless claims say otherwise.
func (s *signer) token(claims jwt.MapClaims) string {
	s.t.Helper()
	all := jwt.MapClaims{"iss": s.iss, "sub": "user", "aud": "shop", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	for k, v := range all {
		if v == nil {
			delete(all, k)
		}
	}
	tok := jwt.NewWithClaims(s.alg, all)
	if s.kid != "" {
		tok.Header["kid"] = s.kid
	}
	out, err := tok.SignedString(s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// authentication attaches providers to the service cart, or to another target.
func (m *mesh) authentication(name string, a *model.RequestAuthentication, target ...model.Target) {
	t := model.Target{Service: key}
	if len(target) > 0 {
		t = target[0]
	}
	for i := range a.Providers {
		if p := &a.Providers[i]; len(p.FromHeaders)+len(p.FromParams)+len(p.FromCookies) == 0 {
			p.FromHeaders = []model.TokenHeader{{Name: "Authorization", Prefix: "Bearer "}}
		}
	}
	att := &model.Attachment{Kind: "RequestAuthentication", Namespace: "shop", Name: name, Target: t, Authentication: a}
	m.snap.Attachments[att.Key()] = att
}

func TestTokens(t *testing.T) {
	m := newMesh(t)
	rs, ec, stranger := newRSA(t, "rs"), newEC(t, "ec"), newRSA(t, "rs")
	m.authentication("login", &model.RequestAuthentication{Providers: []model.TokenProvider{{
		Issuer: idp, Audiences: []string{"shop", "else"}, Keys: keySet(t, rs, ec), ClockSkew: time.Minute,
		ClaimHeaders: []model.ClaimHeader{{Header: "X-User", Claim: []string{"sub"}}, {Header: "X-Team", Claim: []string{"org", "team"}}},
	}}})
	m.publish()
	m.statusIs(401, m.http, "GET", "/", bearer("nonsense")...)
	secret := &signer{t: t, kid: "rs", alg: jwt.SigningMethodHS256, iss: idp}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"iss": idp, "sub": "user", "aud": "shop"})
	none, err := unsigned.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := rs.key.Public().(*rsa.PublicKey).N.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	confused, err := jwt.NewWithClaims(secret.alg, jwt.MapClaims{"iss": idp, "sub": "user", "aud": "shop"}).SignedString(pub)
	if err != nil {
		t.Fatal(err)
	}
	good := rs.token(jwt.MapClaims{"org": map[string]any{"team": "cart"}})
	other := newRSA(t, "unknown")
	foreign := newRSA(t, "rs")
	foreign.iss = "https://else.example"
	for _, tc := range []struct {
		what string
		want int
		head []string
	}{
		{"no token", 200, nil},
		{"RSA", 200, bearer(good)},
		{"EC", 200, bearer(ec.token(nil))},
		{"one of two audiences", 200, bearer(rs.token(jwt.MapClaims{"aud": []string{"x", "else"}}))},
		{"wrong audience", 403, bearer(rs.token(jwt.MapClaims{"aud": "bank"}))},
		{"no audience", 403, bearer(rs.token(jwt.MapClaims{"aud": nil}))},
		{"wrong issuer", 401, bearer(rs.token(jwt.MapClaims{"iss": "https://evil.example"}))},
		{"no issuer", 401, bearer(rs.token(jwt.MapClaims{"iss": nil}))},
		{"foreign issuer and key", 401, bearer(foreign.token(nil))},
		{"expired", 401, bearer(rs.token(jwt.MapClaims{"exp": time.Now().Add(-3 * time.Minute).Unix()}))},
		{"expired within the skew", 200, bearer(rs.token(jwt.MapClaims{"exp": time.Now().Add(-time.Second).Unix()}))},
		{"not yet valid", 401, bearer(rs.token(jwt.MapClaims{"nbf": time.Now().Add(3 * time.Minute).Unix()}))},
		{"another's key by the same name", 401, bearer(stranger.token(nil))},
		{"unknown key", 401, bearer(other.token(nil))},
		{"alg none", 401, bearer(none)},
		{"the public key as secret", 401, bearer(confused)},
		{"changed payload", 401, bearer(good[:len(good)/2] + "A" + good[len(good)/2+1:])},
		{"another scheme is no token", 200, []string{"Authorization", "Basic dTpw"}},
		{"elsewhere is no token", 200, []string{"X-Token", "nonsense"}},
	} {
		code, echo, head, err := ask(m.http, "GET", "/", tc.head...)
		if err != nil || code != tc.want {
			t.Errorf("%s: %d %v, want %d", tc.what, code, err, tc.want)
		}
		if code == 200 && len(echo.Headers.Values("Authorization")) > 0 && tc.what != "another scheme is no token" {
			t.Errorf("%s: the token reached the application", tc.what)
		}
		if code == 401 && head.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", tc.what)
		}
	}
	e := m.statusIs(200, m.http, "GET", "/", bearer(good)...)
	if e.Headers.Get("X-User") != "user" || e.Headers.Get("X-Team") != "cart" {
		t.Errorf("claims reached the application as %v", e.Headers)
	}
	forged := m.statusIs(200, m.http, "GET", "/", "X-User", "root", "x-team", "root")
	if len(forged.Headers.Values("X-User"))+len(forged.Headers.Values("X-Team")) > 0 {
		t.Errorf("a client's own claim headers reached the application: %v", forged.Headers)
	}
	both := m.statusIs(200, m.http, "GET", "/", append(bearer(good), "X-User", "root")...)
	if got := both.Headers.Values("X-User"); len(got) != 1 || got[0] != "user" {
		t.Errorf("X-User = %v beside a token", got)
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

func TestTokensRequired(t *testing.T) {
	m := newMesh(t)
	rs := newRSA(t, "")
	m.authentication("login", &model.RequestAuthentication{Required: true, Providers: []model.TokenProvider{{Issuer: idp, Keys: keySet(t, rs), Forward: true}}})
	m.publish()
	m.statusIs(401, m.http, "GET", "/")
	m.statusIs(401, m.http, "OPTIONS", "/", "Origin", "http://x", "Access-Control-Request-Method", "GET")
	e := m.statusIs(200, m.http, "GET", "/", bearer(rs.token(nil))...)
	if e.Headers.Get("Authorization") == "" {
		t.Error("forward is set, and the token did not reach the application")
	}
	m.closedTCP("a TCP port of a service that requires tokens")
	// A second policy with the same target adds an issuer; its keys are not known, so its tokens are refused.
	late := newEC(t, "late")
	late.iss = "https://late.example"
	m.authentication("late", &model.RequestAuthentication{Providers: []model.TokenProvider{{Issuer: late.iss, FromHeaders: []model.TokenHeader{{Name: "X-Late"}}}}})
	m.publish()
	m.statusIs(200, m.http, "GET", "/", bearer(rs.token(nil))...)
	m.statusIs(401, m.http, "GET", "/", "X-Late", late.token(nil))
	m.authentication("late", &model.RequestAuthentication{Providers: []model.TokenProvider{{
		Issuer: late.iss, Keys: keySet(t, late), FromHeaders: []model.TokenHeader{{Name: "X-Late"}}, FromParams: []string{"tok"}, FromCookies: []string{"session"},
	}}})
	m.publish()
	m.statusIs(200, m.http, "GET", "/", "X-Late", late.token(nil))
	m.statusIs(200, m.http, "GET", "/?tok="+late.token(nil))
	m.statusIs(200, m.http, "GET", "/", "Cookie", "session="+late.token(nil))
	m.statusIs(401, m.http, "GET", "/", "Cookie", "other="+late.token(nil))
	m.statusIs(401, m.http, "GET", "/", bearer(late.token(nil))...)
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// Keys rotate without a request being lost: old and new together, then the new alone.
func TestKeysRotate(t *testing.T) {
	m := newMesh(t)
	old, next := newRSA(t, "1"), newRSA(t, "2")
	set := func(keys ...*signer) {
		m.authentication("login", &model.RequestAuthentication{Required: true, Providers: []model.TokenProvider{{Issuer: idp, Keys: keySet(t, keys...)}}})
		m.publish()
	}
	set(old)
	m.statusIs(401, m.http, "GET", "/", bearer(next.token(nil))...)
	m.statusIs(200, m.http, "GET", "/", bearer(old.token(nil))...)
	set(old, next)
	m.statusIs(200, m.http, "GET", "/", bearer(next.token(nil))...)
	m.statusIs(200, m.http, "GET", "/", bearer(old.token(nil))...)
	set(next)
	m.statusIs(401, m.http, "GET", "/", bearer(old.token(nil))...)
	m.statusIs(200, m.http, "GET", "/", bearer(next.token(nil))...)
	if _, body := m.envoy.Admin(http.MethodGet, "/stats?filter=listener_manager.listener_modified"); body != "listener_manager.listener_modified: 0\n" {
		t.Errorf("listeners changed: %s", body)
	}
}
