package translate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// A ruleCompiler turns one rule into an RBAC policy. What the place of enforcement cannot see makes an
// ALLOW rule match nothing, and is left out of a DENY rule, which then matches more: both fail closed.
type ruleCompiler struct {
	at      where
	deny    bool
	port    uint16             // 0: not known, and so not to be told
	anyPort bool               // of a tunnel to any port of a pod: its :authority names the port
	self    *identity.Identity // set for policies of workloads: the waypoint, which a match may name
	lost    string             // what could not be evaluated, for the policy's status
}

// rule returns nil for a rule that can match nothing here.
func (c *ruleCompiler) rule(r model.L7Rule) *rbacv3.Policy {
	out := &rbacv3.Policy{}
	for _, m := range r.From {
		if p := c.principal(m); p != nil {
			out.Principals = append(out.Principals, p)
		}
	}
	for _, op := range r.To {
		if p := c.permission(op); p != nil {
			out.Permissions = append(out.Permissions, p)
		}
	}
	if (len(out.Principals) == 0 && len(r.From) > 0) || (len(out.Permissions) == 0 && len(r.To) > 0) {
		return nil
	}
	if len(r.From) == 0 {
		out.Principals = []*rbacv3.Principal{anyPrincipal()}
	}
	if len(r.To) == 0 {
		out.Permissions = []*rbacv3.Permission{anyPermission()}
	}
	return out
}

func asksHTTP(op model.L7Operation) bool {
	return len(op.Hosts)+len(op.NotHosts)+len(op.Methods)+len(op.NotMethods)+len(op.Paths)+len(op.NotPaths)+len(op.Headers) > 0
}

// asksRequest reports whether a rule asks about requests on a port; 0 is any.
func asksRequest(r model.L7Rule, port uint16) bool {
	return slices.ContainsFunc(r.From, func(m model.Match) bool { return m.Token != nil }) ||
		slices.ContainsFunc(r.To, func(op model.L7Operation) bool { return asksHTTP(op) && (port == 0 || onPort(op, port)) })
}

// onPort decides the port conditions, which are known for each target.
func onPort(op model.L7Operation, port uint16) bool {
	return (len(op.Ports) == 0 || slices.Contains(op.Ports, port)) && !slices.Contains(op.NotPorts, port)
}

// permission returns nil for an operation that cannot happen on this target.
func (c *ruleCompiler) permission(op model.L7Operation) *rbacv3.Permission {
	var all []*rbacv3.Permission
	switch {
	case c.anyPort:
		all = portPermissions(op)
	case c.port == 0:
		if len(op.Ports)+len(op.NotPorts) > 0 && !c.cannot("the port, which each workload has its own for") {
			return nil
		}
	case !onPort(op, c.port):
		return nil
	}
	if c.at != onRequest && asksHTTP(op) {
		if !c.cannot("hosts, methods, paths and headers on a TCP port") {
			return nil
		}
		op = model.L7Operation{}
	}
	// Where a match refuses a request it is to be taken loosely, where it lets one pass strictly.
	add := func(list []model.StringMatch, not bool, one func(m model.StringMatch, loose bool) *rbacv3.Permission) {
		if len(list) == 0 {
			return
		}
		or := make([]*rbacv3.Permission, len(list))
		for i, m := range list {
			or[i] = one(m, c.deny != not)
		}
		p := anyOfPermissions(or)
		if not {
			p = notPermission(p)
		}
		all = append(all, p)
	}
	add(op.Hosts, false, hostPermission)
	add(op.NotHosts, true, hostPermission)
	add(op.Methods, false, methodPermission)
	add(op.NotMethods, true, methodPermission)
	add(op.Paths, false, pathPermission)
	add(op.NotPaths, true, pathPermission)
	for _, h := range op.Headers {
		if len(h.Values) > 0 {
			all = append(all, headerIs(h.Name, h.Values, c.deny))
		}
		if len(h.NotValues) > 0 {
			all = append(all, notPermission(headerIs(h.Name, h.NotValues, !c.deny)))
		}
	}
	if len(all) == 0 {
		return anyPermission()
	}
	return &rbacv3.Permission{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: all}}}
}

// portPermissions read the port from the authority of a CONNECT.
func portPermissions(op model.L7Operation) []*rbacv3.Permission {
	one := func(ports []uint16) *rbacv3.Permission {
		or := make([]string, len(ports))
		for i, p := range ports {
			or[i] = strconv.Itoa(int(p))
		}
		return headerPermission(":authority", regexMatch(".*:("+strings.Join(or, "|")+")"))
	}
	var all []*rbacv3.Permission
	if len(op.Ports) > 0 {
		all = append(all, one(op.Ports))
	}
	if len(op.NotPorts) > 0 {
		all = append(all, &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: one(op.NotPorts)}})
	}
	return all
}

// cannot notes what is not visible, and reports whether the rule goes on without it.
func (c *ruleCompiler) cannot(what string) bool {
	if c.deny {
		c.lost = "cannot tell " + what + "; the DENY rule matches regardless of them"
	} else {
		c.lost = "cannot tell " + what + "; the ALLOW rule matches nothing"
	}
	return c.deny
}

func anyOfPermissions(or []*rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_OrRules{OrRules: &rbacv3.Permission_Set{Rules: or}}}
}

// hostPermission compares without case, and without the port where the policy names none.
func hostPermission(m model.StringMatch, _ bool) *rbacv3.Permission {
	v := regexp.QuoteMeta(m.Value)
	switch m.Kind {
	case model.Prefix:
		v += ".*"
	case model.Suffix:
		v = ".*" + v
	case model.Presence:
		v = ".+"
	}
	if m.Kind != model.Prefix && m.Kind != model.Presence && !strings.Contains(m.Value, ":") {
		v += "(:[0-9]+)?"
	}
	return headerPermission(":authority", regexMatch("(?i)"+v))
}

func methodPermission(m model.StringMatch, _ bool) *rbacv3.Permission {
	return headerPermission(":method", stringMatch(m))
}

// pathPermission compares the path without its query, after normalisation.
func pathPermission(m model.StringMatch, loose bool) *rbacv3.Permission {
	if loose || m.Kind == model.Template {
		return urlPath(regexMatch(policy.PathPattern(m, loose)))
	}
	return urlPath(stringMatch(m))
}

func urlPath(m *matcherv3.StringMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: m}}}}
}

func notPermission(p *rbacv3.Permission) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_NotRule{NotRule: p}}
}

// headerIs compares a header. One that comes several times is one text with commas (see the bootstrap): loosely,
// one element of it is enough, strictly the whole has to be as written.
func headerIs(name string, values []model.StringMatch, loose bool) *rbacv3.Permission {
	or := make([]string, len(values))
	for i, m := range values {
		or[i] = headerPattern(m, loose)
	}
	return headerPermission(name, regexMatch(strings.Join(or, "|")))
}

func headerPattern(m model.StringMatch, loose bool) string {
	v, before, after := regexp.QuoteMeta(m.Value), "", ""
	if loose {
		before, after = `(.*,)?[ \t]*`, `[ \t]*(,.*)?`
	}
	switch m.Kind {
	case model.Presence:
		if loose {
			return ".*" // even an empty one is there
		}
		return ".+"
	case model.Prefix:
		after = ".*"
	case model.Suffix:
		before = ".*"
	}
	return before + v + after
}

func headerPermission(name string, m *matcherv3.StringMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Header{Header: &routev3.HeaderMatcher{
		Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m},
	}}}
}

func stringMatch(m model.StringMatch) *matcherv3.StringMatcher {
	switch m.Kind {
	case model.Prefix:
		return prefixMatch(m.Value)
	case model.Suffix:
		return suffixMatch(m.Value)
	case model.Presence:
		return regexMatch(".+")
	}
	return exactMatch(m.Value)
}
