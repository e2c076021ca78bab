package controller

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/jwks"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

const (
	defaultClockSkew  = 60 * time.Second
	defaultKeyRefresh = 5 * time.Minute

	reasonBadKeys = "BadKeys" // a key set that is of no use
	reasonNoKeys  = "NoKeys"  // keys that are still to be fetched
)

func (c *compiler) compileAuthentication() {
	for _, o := range oldestFirst(c.requestAuthentications()) {
		p := policyObject{Policy: o.Value, kind: "RequestAuthentication", at: o.Origin, refs: o.Value.Spec.TargetRefs}
		st := c.status(p.kind, p, p.at)
		compiled := c.authentication(st, o.Value.Spec)
		for _, t := range c.attachPolicy(p, targetKinds{service: true, gateway: true, shared: true}) {
			switch {
			case c.byWaypoint(p, t):
				c.put(p, t, model.Attachment{Authentication: compiled})
			case compiled.Required:
				c.requireNowhere(p, st, t)
			}
		}
		st.set(conditionAccepted, true, "Accepted", "the policy is understood")
	}
}

// requireNowhere refuses all calls to the workloads of a service that requires tokens and has no waypoint that
// could look at them. The underscore keeps the name apart from those of AuthorizationPolicies.
func (c *compiler) requireNowhere(p policyObject, st *Status, t attached) {
	const why = "tokens are required, and without a waypoint nobody can look at them"
	deny := &model.Policy{Name: "requestauthentication_" + p.GetName(), Namespace: p.GetNamespace(), Scope: model.ScopeSelector, Action: model.Deny, Unsupported: why}
	c.snap.Policies[deny.Key()] = deny
	t.info.fixed = true
	for _, pod := range t.info.pods {
		pod.workload.Policies = append(pod.workload.Policies, deny.Key())
	}
	st.set(conditionEnforced, false, reasonNoWaypoint, "%s; until there is one all calls to its %d workloads are denied", why, len(t.info.pods))
}

func (c *compiler) authentication(st *Status, spec api.RequestAuthenticationSpec) *model.RequestAuthentication {
	out := &model.RequestAuthentication{Required: spec.Required}
	for i, p := range spec.Providers {
		path := fmt.Sprintf("spec.providers[%d]", i)
		t := model.TokenProvider{
			Issuer: p.Issuer, Audiences: p.Audiences, Keys: c.keys(st, path+".jwks", p), KeysFrom: p.JWKS.URI, FromParams: p.FromParams, FromCookies: p.FromCookies,
			Forward: p.Forward, ClockSkew: defaultClockSkew,
		}
		if p.ClockSkew != nil {
			t.ClockSkew = p.ClockSkew.Duration
		}
		for _, h := range p.FromHeaders {
			t.FromHeaders = append(t.FromHeaders, model.TokenHeader{Name: h.Name, Prefix: h.Prefix})
		}
		if len(p.FromHeaders)+len(p.FromParams)+len(p.FromCookies) == 0 {
			t.FromHeaders = []model.TokenHeader{{Name: "Authorization", Prefix: "Bearer "}}
		}
		for _, h := range p.ClaimsToHeaders {
			t.ClaimHeaders = append(t.ClaimHeaders, model.ClaimHeader{Header: h.Header, Claim: h.Claim})
		}
		out.Providers = append(out.Providers, t)
	}
	return out
}

// keys are a provider's, empty where there are none of use: then all its tokens are refused.
func (c *compiler) keys(st *Status, path string, p api.TokenProvider) string {
	if p.JWKS.URI != "" {
		return c.fetchedKeys(st, path+".uri", p)
	}
	field, text := path+".inline", []byte(p.JWKS.Inline)
	if len(p.JWKS.Keys) > 0 {
		field = path + ".keys"
		text, _ = json.Marshal(map[string]any{"keys": p.JWKS.Keys}) // strings alone: it cannot fail
	}
	out, err := jwks.Parse(text)
	if err != nil {
		st.set(conditionAccepted, false, reasonBadKeys, "%s: %v; all tokens of issuer %s are refused", field, err, p.Issuer)
		st.fail(field, fmt.Sprintf("%v; all tokens of issuer %s are refused", err, p.Issuer), "write the issuer's public keys as its JWKS address gives them")
	}
	return out
}

// fetchedKeys are what was fetched last.
func (c *compiler) fetchedKeys(st *Status, path string, p api.TokenProvider) string {
	if c.cfg.Keys == nil {
		return "" // nobody fetches anything here, e.g. in `weftctl analyze`
	}
	got := c.cfg.Keys[keyLocation(p.JWKS).ID()]
	switch {
	case got.Keys == "" && got.Error == "":
		st.set(conditionAccepted, false, reasonNoKeys, "the keys of issuer %s have not been fetched yet; until then all its tokens are refused", p.Issuer)
	case got.Keys == "":
		st.set(conditionAccepted, false, reasonNoKeys, "the keys of issuer %s cannot be fetched: %s; until then all its tokens are refused", p.Issuer, got.Error)
		st.fail(path, fmt.Sprintf("no keys: %s; all tokens of issuer %s are refused", got.Error, p.Issuer), "see whether the controller reaches the address, and that it answers with a JWKS")
	case got.Error != "":
		st.warn(path, "the last keys stay in force, for new ones cannot be fetched: "+got.Error, "see whether the controller reaches the address, and that it answers with a JWKS")
	}
	return got.Keys
}

func keyLocation(k api.KeySource) jwks.Location {
	l := jwks.Location{URI: k.URI, CACertificates: k.CACertificates, Refresh: defaultKeyRefresh}
	if k.Refresh != nil {
		l.Refresh = cmp.Or(k.Refresh.Duration, defaultKeyRefresh)
	}
	return l
}

// KeyLocations lists the key sets that are to be fetched for the objects, whoever is to use them.
func KeyLocations(objs *source.Objects) []jwks.Location {
	var out []jwks.Location
	for _, o := range objs.RequestAuthentications {
		for _, p := range o.Value.Spec.Providers {
			if p.JWKS.URI != "" {
				l := keyLocation(p.JWKS)
				l.For = []string{o.Value.Namespace}
				out = append(out, l)
			}
		}
	}
	return out
}
