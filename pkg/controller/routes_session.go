package controller

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/pkg/model"
)

// token is what the name of a cookie or a header may be.
var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// session reads a rule's session persistence. Envoy keeps the endpoint in the cookie or header itself, and
// knows no end of a session but the cookie's.
func (r *routeCompiler) session(rule *model.RouteRule, path string, in *gatewayv1.SessionPersistence) {
	if in == nil {
		return
	}
	path += ".sessionPersistence"
	sum := sha256.Sum256([]byte(path))
	name := "weft-session-" + hex.EncodeToString(sum[:4])
	if in.SessionName != nil && *in.SessionName != "" {
		name = *in.SessionName
	}
	if !token.MatchString(name) {
		r.unserved(rule, path+".sessionName", fmt.Sprintf("%q cannot be the name of a cookie or header", name), "write letters, digits, - and _")
		return
	}
	life := r.duration(rule, path+".absoluteTimeout", in.AbsoluteTimeout)
	if in.Type != nil && *in.Type == gatewayv1.HeaderBasedSessionPersistence {
		if life > 0 {
			r.unserved(rule, path+".absoluteTimeout", "a session in a header has no end of its own", "leave absoluteTimeout out, or write type: Cookie")
		}
		rule.Session = &model.Session{Header: name}
		return
	}
	permanent := in.CookieConfig != nil && in.CookieConfig.LifetimeType != nil && *in.CookieConfig.LifetimeType == gatewayv1.PermanentCookieLifetimeType
	switch {
	case permanent && life == 0:
		r.unserved(rule, path+".absoluteTimeout", "a permanent cookie has to end some time", "write absoluteTimeout, e.g. 24h")
	case !permanent && life > 0:
		r.unserved(rule, path+".absoluteTimeout", "a cookie of lifetimeType Session ends with the browser, not after a time", "write lifetimeType: Permanent, or leave absoluteTimeout out")
	}
	rule.Session = &model.Session{Cookie: name, TTL: life}
}
