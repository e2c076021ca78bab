package cli

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/jwks"
	"github.com/weftmesh/weft/pkg/model"
)

// jwt is what anybody can read of a token.
type jwt struct {
	raw    string
	claims map[string]any
}

// readJWT takes a token apart. The error is a *badToken.
func readJWT(raw string) (*jwt, error) {
	bad := func(format string, args ...any) (*jwt, error) {
		return nil, &badToken{status: 401, why: fmt.Sprintf(format, args...), next: "send the token as the issuer gave it"}
	}
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return bad("it has %d parts with dots between, a token has 3", len(parts))
	}
	t := &jwt{raw: raw}
	head := map[string]any{}
	for i, into := range []*map[string]any{&head, &t.claims} {
		part := []string{"header", "payload"}[i]
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil {
			return bad("its %s is not base64url", part)
		}
		if err := json.Unmarshal(text, into); err != nil || *into == nil {
			return bad("its %s is not a JSON object", part)
		}
	}
	if name := t.mistyped(); name != "" {
		return bad("its claim %s is of the wrong type", name)
	}
	for _, words := range []string{"scope", "permission"} { // to policies they are lists
		if s, ok := t.claims[words].(string); ok {
			t.claims[words] = anyList(strings.Fields(s))
		}
	}
	return t, nil
}

// mistyped is a claim of RFC 7519 that is no text, or no time; empty: all are well.
func (t *jwt) mistyped() string {
	for _, name := range []string{"iss", "sub", "jti"} {
		if _, ok := t.claims[name].(string); !ok && t.claims[name] != nil {
			return name
		}
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		if n, ok := t.claims[name].(float64); t.claims[name] != nil && (!ok || n < 0) {
			return name
		}
	}
	return ""
}

func (t *jwt) text(claim string) string {
	s, _ := t.claims[claim].(string)
	return s
}

// who is the token's principal in policies.
func (t *jwt) who() string { return t.text("iss") + "/" + t.text("sub") }

func anyList(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// errNotKnown is of a token whose signature cannot be looked at here.
var errNotKnown = errors.New("its signature cannot be known here")

// badToken says what is wrong with a token, how it is answered, and what to do.
type badToken struct {
	status    int
	why, next string
	foreign   bool // of another issuer
}

func (b *badToken) Error() string { return b.why }

// checkJWT judges as the waypoint does, in its order: issuer, times, audience, signature. The error is a *badToken,
// or errNotKnown.
func checkJWT(t *jwt, p *model.TokenProvider, now time.Time, offline bool) error {
	if t.text("iss") != p.Issuer {
		return &badToken{status: 401, why: fmt.Sprintf("its issuer is %q", t.text("iss")), next: "get a token of one of them, or add the issuer to the providers", foreign: true}
	}
	if err := checkTimes(t, p.ClockSkew, now); err != nil {
		return err
	}
	if got := audiences(t); len(p.Audiences) > 0 && !slices.ContainsFunc(got, func(a string) bool {
		return slices.ContainsFunc(p.Audiences, func(want string) bool { return bareAudience(a) == bareAudience(want) })
	}) {
		return &badToken{status: 403, why: fmt.Sprintf("it is for audience %s, and %s is asked for", orNone(got), strings.Join(p.Audiences, " or ")),
			next: "ask the issuer for a token with such an audience, or add the token's to audiences"}
	}
	switch {
	case p.Keys == "" && offline && p.KeysFrom != "":
		return fmt.Errorf("%w: a controller fetches the keys from %s; ask a running mesh, without -f", errNotKnown, p.KeysFrom)
	case p.Keys == "" && p.KeysFrom != "":
		return &badToken{status: 401, why: "no keys have been fetched from " + p.KeysFrom, next: "see why: weftctl get problems"}
	case p.Keys == "":
		return &badToken{status: 401, why: "the policy has no key of use for issuer " + p.Issuer, next: "see why: weftctl get problems, or weftctl analyze"}
	}
	if err := jwks.Verify(p.Keys, t.raw); err != nil {
		return &badToken{status: 401, why: err.Error(), next: "compare the token's kid and alg with the issuer's JWKS; new keys are fetched every refresh"}
	}
	return nil
}

func checkTimes(t *jwt, skew time.Duration, now time.Time) error {
	if exp, ok := t.claims["exp"].(float64); ok && now.After(seconds(exp).Add(skew)) {
		return &badToken{status: 401, why: fmt.Sprintf("it expired at %s (clockSkew %s)", seconds(exp).Format(time.RFC3339), skew), next: "get a new token"}
	}
	if nbf, ok := t.claims["nbf"].(float64); ok && now.Before(seconds(nbf).Add(-skew)) {
		return &badToken{status: 401, why: fmt.Sprintf("it is not valid before %s (clockSkew %s)", seconds(nbf).Format(time.RFC3339), skew), next: "wait, or compare the clocks of the issuer and the mesh"}
	}
	return nil
}

func seconds(s float64) time.Time { return time.Unix(int64(s), 0).UTC() }

func audiences(t *jwt) []string {
	var out []string
	switch aud := t.claims["aud"].(type) {
	case string:
		out = append(out, aud)
	case []any:
		for _, a := range aud {
			if s, ok := a.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// bareAudience is what Envoy compares: without scheme and last slash.
func bareAudience(a string) string {
	a = strings.TrimPrefix(strings.TrimPrefix(a, "https://"), "http://")
	return strings.TrimSuffix(a, "/")
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
