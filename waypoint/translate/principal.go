package translate

import (
	"net/netip"
	"regexp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

const spiffe = "spiffe://"

// principal compiles the source half of a match. nil: it can match nothing here.
func (c *ruleCompiler) principal(m model.Match) *rbacv3.Principal {
	if len(m.DestinationIPs)+len(m.NotDestinationIPs)+len(m.Ports)+len(m.NotPorts) > 0 && !c.cannot("destinations in a source") {
		return nil
	}
	if m.Token != nil && c.at == onConnection {
		if !c.cannot("the tokens of end users on a TCP port") {
			return nil
		}
		m.Token = nil
	}
	if c.self != nil && policy.Names(&m, *c.self) {
		p := c.named(m)
		if p != nil && m.Token != nil {
			p = andPrincipals(append(tokenPrincipals(m.Token), p))
		}
		return p
	}
	var all []*rbacv3.Principal
	add := func(or []*rbacv3.Principal, not bool) {
		if len(or) == 0 {
			return
		}
		p := &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: or}}}
		if not {
			p = &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: p}}
		}
		all = append(all, p)
	}
	add(c.peers(m.Principals, principalURI), false)
	add(c.peers(m.NotPrincipals, principalURI), true)
	add(c.peers(m.Namespaces, namespaceURI), false)
	add(c.peers(m.NotNamespaces, namespaceURI), true)
	add(c.accounts(m.ServiceAccounts), false)
	add(c.accounts(m.NotServiceAccounts), true)
	add(c.addresses(m.SourceIPs), false)
	add(c.addresses(m.NotSourceIPs), true)
	if m.Token != nil {
		all = append(all, tokenPrincipals(m.Token)...)
	}
	if len(all) == 0 {
		return anyPrincipal()
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: all}}}
}

// named decides a match that names this waypoint: it is about whoever calls through it.
func (c *ruleCompiler) named(m model.Match) *rbacv3.Principal {
	if !policy.MatchesCaller(&m, *c.self) {
		return nil
	}
	if len(m.SourceIPs)+len(m.NotSourceIPs) > 0 && !c.cannot("the waypoint's own address") {
		return nil
	}
	return anyPrincipal()
}

func (c *ruleCompiler) peers(list []model.StringMatch, uri func(model.StringMatch) *matcherv3.StringMatcher) []*rbacv3.Principal {
	var out []*rbacv3.Principal
	for _, m := range list {
		out = append(out, c.peer(uri(m)))
	}
	return out
}

func (c *ruleCompiler) accounts(list []model.ServiceAccountMatch) []*rbacv3.Principal {
	var out []*rbacv3.Principal
	for _, m := range list {
		out = append(out, c.peer(regexMatch(spiffe+"[^/]+/ns/"+regexp.QuoteMeta(m.Namespace)+"/sa/"+regexp.QuoteMeta(m.ServiceAccount))))
	}
	return out
}

// peer matches the caller's SPIFFE URI: in http what hbone wrote down, in hbone the certificate itself.
func (c *ruleCompiler) peer(m *matcherv3.StringMatcher) *rbacv3.Principal {
	if c.at == onConnection {
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Authenticated_{
			Authenticated: &rbacv3.Principal_Authenticated{PrincipalName: m},
		}}
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_FilterState{FilterState: &matcherv3.FilterStateMatcher{
		Key: statePeer, Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: m},
	}}}
}

func (c *ruleCompiler) addresses(list []netip.Prefix) []*rbacv3.Principal {
	var out []*rbacv3.Principal
	for _, p := range list {
		cidr := &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: u32(uint32(p.Bits()))}
		if c.at == onConnection {
			out = append(out, &rbacv3.Principal{Identifier: &rbacv3.Principal_DirectRemoteIp{DirectRemoteIp: cidr}})
		} else {
			out = append(out, &rbacv3.Principal{Identifier: &rbacv3.Principal_RemoteIp{RemoteIp: cidr}})
		}
	}
	return out
}

// principalURI compares a whole identity. Presence is any SPIFFE id, which "-" for none is not.
func principalURI(m model.StringMatch) *matcherv3.StringMatcher {
	switch m.Kind {
	case model.Presence:
		return prefixMatch(spiffe)
	case model.Prefix:
		return prefixMatch(spiffe + m.Value)
	case model.Suffix:
		return regexMatch(spiffe + ".*" + regexp.QuoteMeta(m.Value))
	}
	return exactMatch(spiffe + m.Value)
}

// namespaceURI compares the namespace within an identity.
func namespaceURI(m model.StringMatch) *matcherv3.StringMatcher {
	ns := regexp.QuoteMeta(m.Value)
	switch m.Kind {
	case model.Presence:
		ns = "[^/]+"
	case model.Prefix:
		ns += "[^/]*"
	case model.Suffix:
		ns = "[^/]*" + ns
	}
	return regexMatch(spiffe + "[^/]+/ns/" + ns + "/sa/[^/]+")
}
