package cli

import (
	"encoding/json"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// The rows of waypoint/e2e's TestTokenPolicies, which a real Envoy decides: why has to say the same.
func TestClaimsMeanWhatTheyMeanToEnvoy(t *testing.T) {
	match := func(s string) []model.StringMatch { return []model.StringMatch{model.ParseStringMatch(s)} }
	claim := func(value string, path ...string) model.TokenMatch {
		return model.TokenMatch{Claims: []model.ClaimMatch{{Claim: path, Values: match(value)}}}
	}
	const (
		plain  = `{"iss":"https://login.example","sub":"user"}`
		full   = `{"iss":"https://login.example","sub":"user","realm":{"roles":["user","ops-eu"]},"level":7,"staff":true,"scope":["read","write"],"https://a.b/c":"x"}`
		single = `{"iss":"https://login.example","sub":"user","realm":{"roles":"admin"},"level":"7","staff":"true","scope":["write"]}`
		less   = `{"iss":"https://login.example","sub":"a/user","realm":{"roles":["user"]},"level":71,"staff":false,"scope":["writer"],"empty":""}`
	)
	for _, tc := range []struct {
		name string
		m    model.TokenMatch
		yes  []string
		no   []string
	}{
		{"exact", model.TokenMatch{Principals: match("https://login.example/user")}, []string{plain}, []string{less, "null"}},
		{"issuer", model.TokenMatch{Principals: match("https://login.example/*")}, []string{plain, less}, []string{"null"}},
		{"subject", model.TokenMatch{Principals: match("*/user")}, []string{plain, less}, []string{"null"}},
		{"any", model.TokenMatch{Principals: match("*")}, []string{plain, less}, []string{"null"}},
		{"none", model.TokenMatch{NotPrincipals: match("*")}, []string{"null"}, []string{plain}},
		{"role", claim("ops*", "realm", "roles"), []string{full}, []string{single, less, plain, "null"}},
		{"text for a list", claim("admin", "realm", "roles"), []string{single}, []string{full}},
		{"level", claim("7", "level"), []string{full, single}, []string{less, plain}},
		{"hexadecimal is text", claim("0x7", "level"), nil, []string{full, single}},
		{"staff", claim("true", "staff"), []string{full, single}, []string{less}},
		{"scope", claim("write", "scope"), []string{full, single}, []string{less}},
		{"dotted", claim("x", "https://a.b/c"), []string{full}, []string{plain}},
		{"present", claim("*", "staff"), []string{full, less}, []string{plain, "null"}},
		{"empty is present", claim("*", "empty"), []string{less}, []string{plain}},
		{"not", model.TokenMatch{Claims: []model.ClaimMatch{{Claim: []string{"level"}, NotValues: match("7")}}}, []string{plain, less, "null"}, []string{full, single}},
	} {
		for want, tokens := range map[bool][]string{true: tc.yes, false: tc.no} {
			for _, text := range tokens {
				u := endUser{}
				if err := json.Unmarshal([]byte(text), &u.claims); err != nil {
					t.Fatal(err)
				}
				if got := u.matches(&tc.m); got != want {
					t.Errorf("%s: %s: %v", tc.name, text, got)
				}
			}
		}
	}
}
