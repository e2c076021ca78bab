package e2e

import (
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

func paths(in ...string) (out []model.StringMatch) {
	for _, s := range in {
		out = append(out, policy.ParsePath(s))
	}
	return out
}

func tokenOf(t model.TokenMatch) []model.Match { return []model.Match{{Token: &t}} }

func claimOf(values []string, path ...string) model.ClaimMatch {
	return model.ClaimMatch{Claim: path, Values: strs(values...)}
}

// What a token says decides: issuer and subject, claims of every kind, and that there is none.
func TestTokenPolicies(t *testing.T) {
	m := newMesh(t)
	rs := newRSA(t, "rs")
	m.authentication("login", &model.RequestAuthentication{Providers: []model.TokenProvider{{Issuer: idp, Keys: keySet(t, rs)}}})
	allow := func(path string, from model.TokenMatch) model.L7Rule {
		return model.L7Rule{From: tokenOf(from), To: []model.L7Operation{{Paths: paths(path)}}}
	}
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Rules: []model.L7Rule{
		allow("/exact", model.TokenMatch{Principals: strs(idp + "/user")}),
		allow("/issuer", model.TokenMatch{Principals: strs(idp + "/*")}),
		allow("/subject", model.TokenMatch{Principals: strs("*/user")}),
		allow("/any", model.TokenMatch{Principals: strs("*")}),
		allow("/none", model.TokenMatch{NotPrincipals: strs("*")}),
		allow("/role", model.TokenMatch{Claims: []model.ClaimMatch{claimOf([]string{"admin", "ops*"}, "realm", "roles")}}),
		allow("/level", model.TokenMatch{Claims: []model.ClaimMatch{claimOf([]string{"7"}, "level")}}),
		allow("/staff", model.TokenMatch{Claims: []model.ClaimMatch{claimOf([]string{"true"}, "staff")}}),
		allow("/scope", model.TokenMatch{Claims: []model.ClaimMatch{claimOf([]string{"write"}, "scope")}}),
		allow("/dotted", model.TokenMatch{Claims: []model.ClaimMatch{claimOf([]string{"x"}, "https://a.b/c")}}),
		allow("/both", model.TokenMatch{Principals: strs("*"), Claims: []model.ClaimMatch{{Claim: []string{"level"}, NotValues: strs("7")}}}),
	}})
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Rules: []model.L7Rule{{From: tokenOf(model.TokenMatch{Claims: []model.ClaimMatch{claimOf([]string{"*"}, "banned")}})}}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/")
	plain, none := rs.token(nil), ""
	full := rs.token(jwt.MapClaims{
		"realm": map[string]any{"roles": []string{"user", "ops-eu"}}, "level": 7, "staff": true, "scope": "read write", "https://a.b/c": "x",
	})
	single := rs.token(jwt.MapClaims{"realm": map[string]any{"roles": "admin"}, "level": "7", "staff": "true", "scope": []string{"write"}})
	less := rs.token(jwt.MapClaims{"realm": map[string]any{"roles": []string{"user"}}, "level": 71, "staff": false, "scope": "writer", "sub": "a/user"})
	banned := rs.token(jwt.MapClaims{"banned": false})
	for _, tc := range []struct {
		path  string
		want  int
		token string
	}{
		{"/exact", 200, plain}, {"/exact", 403, less}, {"/exact", 403, none},
		{"/issuer", 200, less}, {"/issuer", 403, none}, {"/subject", 200, plain}, {"/subject", 200, less}, {"/subject", 403, none},
		{"/any", 200, plain}, {"/any", 403, none}, {"/any", 403, banned}, {"/none", 200, none}, {"/none", 403, plain},
		{"/role", 200, full}, {"/role", 200, single}, {"/role", 403, less}, {"/role", 403, plain}, {"/role", 403, none},
		{"/level", 200, full}, {"/level", 200, single}, {"/level", 403, less},
		{"/staff", 200, full}, {"/staff", 200, single}, {"/staff", 403, less},
		{"/scope", 200, full}, {"/scope", 200, single}, {"/scope", 403, less},
		{"/dotted", 200, full}, {"/dotted", 403, plain},
		{"/both", 200, plain}, {"/both", 403, full}, {"/both", 403, none},
	} {
		var head []string
		if tc.token != none {
			head = bearer(tc.token)
		}
		if code, _, _, err := ask(m.http, "GET", tc.path, head...); err != nil || code != tc.want {
			t.Errorf("%s: %d %v, want %d", tc.path, code, err, tc.want)
		}
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// Without a verified token nobody has claims, whatever he sends.
func TestClaimsNeedAuthentication(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Rules: []model.L7Rule{{From: tokenOf(model.TokenMatch{Principals: strs("*")})}}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/", bearer(newRSA(t, "rs").token(nil))...)
	m.closedTCP("a TCP port, which an ALLOW by token cannot open")
}

// A DENY by token or header on a TCP port refuses everybody there.
func TestTokenDenyOnTCP(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Rules: []model.L7Rule{{From: tokenOf(model.TokenMatch{NotPrincipals: strs("*")})}}})
	if p := m.publish(); len(p) == 0 {
		t.Error("no problem is reported")
	}
	m.statusIs(403, m.http, "GET", "/")
	m.closedTCP("a TCP port under a DENY by token")
}

func TestHeaderAndTemplatePolicies(t *testing.T) {
	m := newMesh(t)
	m.policy(&model.L7Policy{Name: "allow", Action: model.Allow, Rules: []model.L7Rule{
		{To: []model.L7Operation{{Paths: paths("/v1/{id}/items"), Methods: strs("GET")}}},
		{To: []model.L7Operation{{Paths: paths("/files/{**}")}}},
		{To: []model.L7Operation{{Paths: paths("/tenant"), Headers: []model.HeaderCondition{{Name: "x-tenant", Values: strs("a", "b*")}}}}},
		{To: []model.L7Operation{{Paths: paths("/not"), Headers: []model.HeaderCondition{{Name: "x-debug", NotValues: strs("*")}}}}},
	}})
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Rules: []model.L7Rule{
		{To: []model.L7Operation{{Headers: []model.HeaderCondition{{Name: "x-bad", Values: strs("yes")}}}}},
	}})
	m.publish()
	m.statusIs(403, m.http, "GET", "/")
	for _, tc := range []struct {
		want         int
		method, path string
		header       []string
	}{
		{200, "GET", "/v1/7/items", nil}, {200, "GET", "/v1/7/items?x=/", nil}, {403, "POST", "/v1/7/items", nil},
		{403, "GET", "/v1/7/8/items", nil}, {403, "GET", "/v1/items", nil}, {403, "GET", "/v1/7/items/", nil}, {403, "GET", "/V1/7/items", nil},
		{200, "GET", "/files", nil}, {200, "GET", "/files/a/b", nil}, {403, "GET", "/filesystem", nil},
		{200, "GET", "/tenant", []string{"X-Tenant", "a"}}, {200, "GET", "/tenant", []string{"X-Tenant", "bcd"}},
		{403, "GET", "/tenant", []string{"X-Tenant", "c"}}, {403, "GET", "/tenant", nil}, {403, "GET", "/tenant", []string{"X-Tenant", "a", "X-Tenant", "c"}},
		{403, "GET", "/tenant", []string{"X-Tenant", "ab"}},
		{200, "GET", "/not", nil}, {403, "GET", "/not", []string{"X-Debug", "1"}}, {403, "GET", "/not", []string{"X-Debug", ""}},
		{403, "GET", "/files", []string{"X-Bad", "yes"}}, {403, "GET", "/files", []string{"X-Bad", "no", "X-Bad", "yes"}},
		{403, "GET", "/files", []string{"X-Bad", "no, yes"}}, {200, "GET", "/files", []string{"X-Bad", "yes!"}},
	} {
		if code, _, _, err := ask(m.http, tc.method, tc.path, tc.header...); err != nil || code != tc.want {
			t.Errorf("%s %s %v: %d %v, want %d", tc.method, tc.path, tc.header, code, err, tc.want)
		}
	}
}
