package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// shown is a token that a request shows to a provider that looks for it there.
type shown struct {
	policy   *model.Attachment
	provider *model.TokenProvider
	raw      string
}

// judgeTokens verifies the tokens of the request as the waypoint does, before all policies, which then know its claims.
func (x *explainer) judgeTokens(h *hop, wp *model.Waypoint, req request) verdict {
	policies := x.attached(wp, "RequestAuthentication", nil, nil)
	required := ""
	for _, a := range policies {
		if a.Authentication.Required && required == "" {
			required = attachmentName(a)
		}
	}
	tokens := tokensOf(policies, req)
	switch {
	case x.noRequests():
		if required != "" {
			h.say("RequestAuthentication %s requires a token, and on a TCP port nobody can show one: refused", required)
			x.advise("target the HTTP ports alone, by sectionName")
			return refused
		}
	case len(policies) == 0:
		if req.jwt != "" {
			h.say("no RequestAuthentication is for it: nobody looks at the token, and to policies it has no claims")
		}
	case len(tokens) > 0:
		return x.judgeShown(h, tokens, req)
	case req.empty():
		x.user.unknown = true
		return x.sayTokenless(h, policies, required, depends)
	default:
		return x.sayTokenless(h, policies, required, refused)
	}
	return allowed
}

// sayTokenless is about a request without a token.
func (x *explainer) sayTokenless(h *hop, policies []*model.Attachment, required string, without verdict) verdict {
	if required == "" {
		h.say("RequestAuthentication %s: a request without a token passes as nobody's, one with a bad token is answered 401", namesOf(policies))
		return allowed
	}
	h.say("RequestAuthentication %s requires a token: a request without one, or with a bad one, is answered 401", required)
	x.advise("send a token: %s; try it here: --jwt FILE", strings.Join(places(policies), "; "))
	return without
}

// judgeShown looks for one token that counts: then the others do not matter.
func (x *explainer) judgeShown(h *hop, tokens []shown, req request) verdict {
	var worst *badToken
	result, maybe := refused, ""
	for _, s := range tokens {
		name := attachmentName(s.policy)
		t, err := readJWT(s.raw)
		if err == nil {
			err = checkJWT(t, s.provider, time.Now(), req.offline)
		}
		var bad *badToken
		switch {
		case err == nil:
			h.say("the token of %s is good, by RequestAuthentication %s%s", t.who(), name, handedOn(s.provider))
			x.user.claims = t.claims
			return allowed
		case !errors.As(err, &bad):
			maybe = fmt.Sprintf("the token of %s fits RequestAuthentication %s by issuer, audience and times; %v", t.who(), name, err)
			result, x.user.claims = depends, t.claims
		case worst == nil || worst.foreign:
			worst = &badToken{bad.status, fmt.Sprintf("RequestAuthentication %s: %s", name, bad.why), bad.next, bad.foreign}
		}
	}
	if result == depends {
		h.say("%s", maybe)
		return depends
	}
	if worst.foreign {
		worst.why += fmt.Sprintf(", and only tokens of %s count", strings.Join(issuersOf(tokens), " or "))
	}
	h.say("the token is answered %d by %s", worst.status, worst.why)
	x.advise("%s", worst.next)
	return refused
}

func issuersOf(tokens []shown) []string {
	var out []string
	for _, s := range tokens {
		if !slices.Contains(out, s.provider.Issuer) {
			out = append(out, s.provider.Issuer)
		}
	}
	return out
}

// handedOn tells what the application gets of a token.
func handedOn(p *model.TokenProvider) string {
	var out []string
	for _, c := range p.ClaimHeaders {
		out = append(out, c.Header)
	}
	text := ""
	if len(out) > 0 {
		text = "; the application gets " + strings.Join(out, ", ")
	}
	if p.Forward {
		text += "; the application gets the token"
	}
	return text
}

// tokensOf finds the tokens of a request where each provider looks for them. What --jwt names is wherever it has to be.
func tokensOf(policies []*model.Attachment, req request) []shown {
	_, query, _ := strings.Cut(req.path, "?")
	var out []shown
	for _, a := range policies {
		for i := range a.Authentication.Providers {
			p := &a.Authentication.Providers[i]
			add := func(raw string) {
				if raw != "" {
					out = append(out, shown{a, p, raw})
				}
			}
			add(req.jwt)
			for _, f := range p.FromHeaders {
				if v, ok := strings.CutPrefix(req.header[strings.ToLower(f.Name)], f.Prefix); ok {
					add(v)
				}
			}
			for _, name := range p.FromParams {
				add(valueOf(query, "&", name))
			}
			for _, name := range p.FromCookies {
				add(valueOf(req.header["cookie"], ";", name))
			}
		}
	}
	return out
}

// valueOf finds name=value in a list.
func valueOf(list, sep, name string) string {
	for _, kv := range strings.Split(list, sep) {
		if k, v, _ := strings.Cut(strings.TrimSpace(kv), "="); k == name {
			return v
		}
	}
	return ""
}

// places tells whose tokens count, and where each provider looks for them.
func places(policies []*model.Attachment) []string {
	var out []string
	for _, a := range policies {
		for _, p := range a.Authentication.Providers {
			var at []string
			for _, f := range p.FromHeaders {
				place := "header " + f.Name
				if f.Prefix != "" {
					place += fmt.Sprintf(" after %q", f.Prefix)
				}
				at = append(at, place)
			}
			for _, name := range p.FromParams {
				at = append(at, "query parameter "+name)
			}
			for _, name := range p.FromCookies {
				at = append(at, "cookie "+name)
			}
			out = append(out, "of "+p.Issuer+" in "+strings.Join(at, " or "))
		}
	}
	return out
}
