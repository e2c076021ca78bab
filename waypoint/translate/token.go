package translate

import (
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// tokenPrincipals say what is asked of the token that was verified. Where none was, no claim is there and
// only the not-lists hold.
func tokenPrincipals(m *model.TokenMatch) []*rbacv3.Principal {
	var all []*rbacv3.Principal
	add := func(list []model.StringMatch, not bool, one func(model.StringMatch) *rbacv3.Principal) {
		if len(list) == 0 {
			return
		}
		or := make([]*rbacv3.Principal, len(list))
		for i, m := range list {
			or[i] = one(m)
		}
		p := orPrincipals(or)
		if not {
			p = &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
		}
		all = append(all, p)
	}
	add(m.Principals, false, requestPrincipal)
	add(m.NotPrincipals, true, requestPrincipal)
	for _, c := range m.Claims {
		one := func(v model.StringMatch) *rbacv3.Principal { return claimIs(claimValue(v), c.Claim...) }
		add(c.Values, false, one)
		add(c.NotValues, true, one)
	}
	return all
}

// requestPrincipal compares issuer/subject. Both may have slashes in them, so wherever the text has one it may
// be the one between.
func requestPrincipal(m model.StringMatch) *rbacv3.Principal {
	var or []*rbacv3.Principal
	issuer, subject := model.Exact, model.Exact
	switch m.Kind {
	case model.Presence:
		return claimIs(present(), "iss")
	case model.Prefix:
		subject = model.Prefix
		or = append(or, claimText(m, "iss"))
	case model.Suffix:
		issuer = model.Suffix
		or = append(or, claimText(m, "sub"))
	}
	for i := range m.Value {
		if m.Value[i] == '/' {
			or = append(or, andPrincipals([]*rbacv3.Principal{
				claimText(model.StringMatch{Kind: issuer, Value: m.Value[:i]}, "iss"),
				claimText(model.StringMatch{Kind: subject, Value: m.Value[i+1:]}, "sub"),
			}))
		}
	}
	if len(or) == 0 { // no issuer can be told from a subject: it matches nothing
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: anyPrincipal()}}
	}
	return orPrincipals(or)
}

// claimText compares a claim that is a text; anything begins and ends with nothing.
func claimText(m model.StringMatch, name string) *rbacv3.Principal {
	if m.Value == "" && m.Kind != model.Exact {
		return anyPrincipal()
	}
	return claimIs(stringValue(stringMatch(m)), name)
}

func claimIs(v *matcherv3.ValueMatcher, path ...string) *rbacv3.Principal {
	m := &matcherv3.MetadataMatcher{Filter: tokenMetadata, Value: v}
	for _, name := range append([]string{tokenPayload}, path...) {
		m.Path = append(m.Path, &matcherv3.MetadataMatcher_PathSegment{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: name}})
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_SourcedMetadata{SourcedMetadata: &rbacv3.SourcedMetadata{MetadataMatcher: m}}}
}

// claimValue compares a claim, or the elements of a list. What is written as text is also a number or a truth
// value where it reads as one.
func claimValue(m model.StringMatch) *matcherv3.ValueMatcher {
	if m.Kind == model.Presence {
		return present()
	}
	or := []*matcherv3.ValueMatcher{stringValue(stringMatch(m))}
	if m.Kind == model.Exact {
		switch m.Value {
		case "true", "false":
			or = append(or, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: m.Value == "true"}})
		default:
			if n, err := strconv.ParseFloat(m.Value, 64); err == nil && !strings.ContainsAny(m.Value, "nNxXpP_") {
				or = append(or, &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_DoubleMatch{
					DoubleMatch: &matcherv3.DoubleMatcher{MatchPattern: &matcherv3.DoubleMatcher_Exact{Exact: n}},
				}})
			}
		}
	}
	one := anyValue(or)
	list := &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{
		ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: one}},
	}}
	return anyValue(append(or[:len(or):len(or)], list))
}

func anyValue(or []*matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	if len(or) == 1 {
		return or[0]
	}
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{OrMatch: &matcherv3.OrMatcher{ValueMatchers: or}}}
}

func stringValue(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
}

func present() *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_PresentMatch{PresentMatch: true}}
}
