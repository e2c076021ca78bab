package controller

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/waypoint/translate"
)

// envoyAllows reads the configuration of a target as Envoy would: the DENY filter, then the ALLOW filter.
// It knows what translation uses; anything else fails the test.
func envoyAllows(t *testing.T, res *translate.Resources, target string, c call) bool {
	t.Helper()
	for _, rc := range res.Routes {
		for _, vh := range rc.VirtualHosts {
			if rc.Name != target && vh.Name != target {
				continue
			}
			for _, filter := range []string{"rbac.deny", "rbac.allow"} {
				packed := vh.TypedPerFilterConfig[filter]
				if packed == nil {
					continue
				}
				cfg := &rbacfilterv3.RBACPerRoute{}
				if err := packed.UnmarshalTo(cfg); err != nil {
					t.Fatal(err)
				}
				rules := cfg.GetRbac().GetRules()
				if rules == nil {
					continue
				}
				matched := false
				for _, p := range rules.Policies {
					matched = matched || slices.ContainsFunc(p.Principals, func(x *rbacv3.Principal) bool { return principalHolds(t, x, c) }) &&
						slices.ContainsFunc(p.Permissions, func(x *rbacv3.Permission) bool { return permissionHolds(t, x, c) })
				}
				if matched == (rules.Action == rbacv3.RBAC_DENY) {
					return false
				}
			}
		}
	}
	return true
}

func principalHolds(t *testing.T, p *rbacv3.Principal, c call) bool {
	t.Helper()
	uri := c.caller.String()
	switch id := p.Identifier.(type) {
	case *rbacv3.Principal_Any:
		return true
	case *rbacv3.Principal_AndIds:
		return !slices.ContainsFunc(id.AndIds.Ids, func(x *rbacv3.Principal) bool { return !principalHolds(t, x, c) })
	case *rbacv3.Principal_OrIds:
		return slices.ContainsFunc(id.OrIds.Ids, func(x *rbacv3.Principal) bool { return principalHolds(t, x, c) })
	case *rbacv3.Principal_NotId:
		return !principalHolds(t, id.NotId, c)
	case *rbacv3.Principal_FilterState:
		return stringHolds(t, id.FilterState.GetStringMatch(), uri)
	case *rbacv3.Principal_Authenticated_:
		return stringHolds(t, id.Authenticated.PrincipalName, uri)
	case *rbacv3.Principal_RemoteIp:
		return inCIDR(id.RemoteIp.AddressPrefix, int(id.RemoteIp.PrefixLen.GetValue()), c.ip)
	case *rbacv3.Principal_DirectRemoteIp:
		return inCIDR(id.DirectRemoteIp.AddressPrefix, int(id.DirectRemoteIp.PrefixLen.GetValue()), c.ip)
	case *rbacv3.Principal_Header:
		return headerHolds(t, id.Header, c)
	case *rbacv3.Principal_UrlPath:
		return stringHolds(t, id.UrlPath.GetPath(), c.path)
	case *rbacv3.Principal_SourcedMetadata:
		m := id.SourcedMetadata.MetadataMatcher
		v := c.token.payload()
		for i, s := range m.Path {
			fields, _ := v.(map[string]any)
			if i == 0 && (m.Filter != "envoy.filters.http.jwt_authn" || s.GetKey() != "payload") {
				t.Fatalf("metadata %s %v", m.Filter, m.Path)
			} else if i > 0 {
				v = fields[s.GetKey()]
			}
		}
		return v != nil && valueHolds(t, m.Value, v)
	}
	t.Fatalf("principal %T", p.Identifier)
	return false
}

func permissionHolds(t *testing.T, p *rbacv3.Permission, c call) bool {
	t.Helper()
	switch r := p.Rule.(type) {
	case *rbacv3.Permission_Any:
		return true
	case *rbacv3.Permission_AndRules:
		return !slices.ContainsFunc(r.AndRules.Rules, func(x *rbacv3.Permission) bool { return !permissionHolds(t, x, c) })
	case *rbacv3.Permission_OrRules:
		return slices.ContainsFunc(r.OrRules.Rules, func(x *rbacv3.Permission) bool { return permissionHolds(t, x, c) })
	case *rbacv3.Permission_NotRule:
		return !permissionHolds(t, r.NotRule, c)
	case *rbacv3.Permission_Header:
		return headerHolds(t, r.Header, c)
	case *rbacv3.Permission_UrlPath:
		return stringHolds(t, r.UrlPath.GetPath(), c.path)
	}
	t.Fatalf("permission %T", p.Rule)
	return false
}

func headerHolds(t *testing.T, h *routev3.HeaderMatcher, c call) bool {
	t.Helper()
	if h.Name != ":method" {
		t.Fatalf("header %s", h.Name)
	}
	return stringHolds(t, h.GetStringMatch(), c.method)
}

func stringHolds(t *testing.T, m *matcherv3.StringMatcher, v string) bool {
	t.Helper()
	switch p := m.MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return v == p.Exact
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(v, p.Prefix)
	case *matcherv3.StringMatcher_Suffix:
		return strings.HasSuffix(v, p.Suffix)
	case *matcherv3.StringMatcher_SafeRegex:
		return regexp.MustCompile("^(?:" + p.SafeRegex.Regex + ")$").MatchString(v)
	}
	t.Fatalf("string match %T", m.MatchPattern)
	return false
}

func inCIDR(prefix string, bits int, a netip.Addr) bool {
	return netip.PrefixFrom(netip.MustParseAddr(prefix), bits).Contains(a)
}

// payload is what Envoy makes of a token.
func (b *bookToken) payload() any {
	if b == nil {
		return nil
	}
	roles := make([]any, len(b.roles))
	for i, r := range b.roles {
		roles[i] = r
	}
	return map[string]any{"iss": b.iss, "sub": b.sub, "org": map[string]any{"roles": roles}}
}

func valueHolds(t *testing.T, m *matcherv3.ValueMatcher, v any) bool {
	t.Helper()
	switch p := m.MatchPattern.(type) {
	case *matcherv3.ValueMatcher_PresentMatch:
		return true
	case *matcherv3.ValueMatcher_StringMatch:
		s, ok := v.(string)
		return ok && stringHolds(t, p.StringMatch, s)
	case *matcherv3.ValueMatcher_OrMatch:
		return slices.ContainsFunc(p.OrMatch.ValueMatchers, func(x *matcherv3.ValueMatcher) bool { return valueHolds(t, x, v) })
	case *matcherv3.ValueMatcher_ListMatch:
		list, _ := v.([]any)
		return slices.ContainsFunc(list, func(x any) bool { return valueHolds(t, p.ListMatch.GetOneOf(), x) })
	}
	t.Fatalf("value match %T", m.MatchPattern)
	return false
}
