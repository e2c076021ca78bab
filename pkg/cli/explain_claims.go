package cli

import (
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// endUser is who a request's token says it is.
type endUser struct {
	unknown bool           // nothing was said of the request, so not of a token either
	claims  map[string]any // nil: no token counts, so nobody
}

// matchToken is what the waypoint's filter would say of the end user. On a port of plain TCP nobody sees a token: a
// DENY rule matches there, and an ALLOW rule does not.
func (x *explainer) matchToken(m *model.TokenMatch, deny bool) truth {
	switch {
	case x.noRequests() && deny:
		return yes
	case x.noRequests():
		return no
	case x.user.unknown:
		return unknown
	case x.user.matches(m):
		return yes
	}
	return no
}

func (u *endUser) matches(m *model.TokenMatch) bool {
	if len(m.Principals) > 0 && !slices.ContainsFunc(m.Principals, u.is) || slices.ContainsFunc(m.NotPrincipals, u.is) {
		return false
	}
	for _, c := range m.Claims {
		has := func(v model.StringMatch) bool { return claimMatches(v, u.claim(c.Claim)) }
		if len(c.Values) > 0 && !slices.ContainsFunc(c.Values, has) || slices.ContainsFunc(c.NotValues, has) {
			return false
		}
	}
	return true
}

// is compares issuer/subject.
func (u *endUser) is(m model.StringMatch) bool {
	iss, ok := u.claims["iss"].(string)
	sub, _ := u.claims["sub"].(string)
	return ok && matchString(m, iss+"/"+sub)
}

// claim is the value at a path, nil where there is none.
func (u *endUser) claim(path []string) any {
	var v any = u.claims
	for _, name := range path {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// claimMatches compares a value, or the elements of a list. What is written as text is also a number or a truth value.
func claimMatches(m model.StringMatch, v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case []any:
		return m.Kind == model.Presence || slices.ContainsFunc(v, func(e any) bool { _, list := e.([]any); return !list && claimMatches(m, e) })
	case string:
		return m.Kind == model.Presence || matchString(m, v)
	case bool:
		return m.Kind == model.Presence || m.Kind == model.Exact && m.Value == strconv.FormatBool(v)
	case float64:
		n, err := strconv.ParseFloat(m.Value, 64)
		plain := err == nil && !strings.ContainsAny(m.Value, "nNxXpP_")
		return m.Kind == model.Presence || m.Kind == model.Exact && plain && n == v
	}
	return m.Kind == model.Presence
}
