package controller

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// call is what a policy may be asked about.
type call struct {
	caller                identity.Identity
	ip                    netip.Addr
	port                  uint16 // of the workload
	method, path          string
	token                 *bookToken // that was verified; nil none
	requests              bool       // whoever decides sees requests
	ztunnel               bool       // and is a ztunnel: what asks about requests spoils an ALLOW rule, or a whole DENY policy
	namespace, app, stage string
}

// bookToken is an end user.
type bookToken struct {
	iss, sub string
	roles    []string
}

// principal is empty without a token.
func (b *bookToken) principal() string {
	if b == nil {
		return ""
	}
	return b.iss + "/" + b.sub
}

// byTheBook says what AuthorizationPolicies mean, straight from the objects.
func byTheBook(all []*api.AuthorizationPolicy, c call) bool {
	allows, allowed := 0, false
	for _, p := range all {
		if p.Spec.DryRun || !bookBinds(p, c) {
			continue
		}
		if p.Spec.Action == api.ActionDeny {
			asks := slices.ContainsFunc(p.Spec.Rules, bookRuleAsks)
			if c.ztunnel && asks || slices.ContainsFunc(p.Spec.Rules, func(r api.PolicyRule) bool { return bookRule(r, c, true) }) {
				return false
			}
			continue
		}
		allows++
		allowed = allowed || slices.ContainsFunc(p.Spec.Rules, func(r api.PolicyRule) bool { return bookRule(r, c, false) })
	}
	return allows == 0 || allowed
}

func bookBinds(p *api.AuthorizationPolicy, c call) bool {
	if p.Spec.Selector != nil {
		return p.Namespace == c.namespace && carries(map[string]string{"app": c.app, "stage": c.stage}, p.Spec.Selector.MatchLabels)
	}
	return p.Namespace == api.SystemNamespace || p.Namespace == c.namespace
}

func bookAsks(t api.To) bool { return len(t.Operation.Methods)+len(t.Operation.NotPaths) > 0 }

func bookAsksToken(s api.Source) bool {
	return len(s.RequestPrincipals)+len(s.NotRequestPrincipals)+len(s.Claims) > 0
}

func bookRuleAsks(r api.PolicyRule) bool {
	return slices.ContainsFunc(r.To, bookAsks) || slices.ContainsFunc(r.From, func(f api.From) bool { return bookAsksToken(f.Source) })
}

// bookRule: without requests, what asks about them matches for a DENY rule and does not for an ALLOW rule.
func bookRule(r api.PolicyRule, c call, deny bool) bool {
	if c.ztunnel && bookRuleAsks(r) {
		return deny
	}
	from := len(r.From) == 0 || slices.ContainsFunc(r.From, func(f api.From) bool { return bookSource(f.Source, c, deny) })
	to := len(r.To) == 0 || slices.ContainsFunc(r.To, func(t api.To) bool {
		if !bookLists(strconv.Itoa(int(c.port)), t.Operation.Ports, t.Operation.NotPorts) {
			return false
		}
		if bookAsks(t) && !c.requests {
			return deny
		}
		return bookLists(c.method, t.Operation.Methods, nil) && bookLists(c.path, nil, t.Operation.NotPaths)
	})
	return from && to
}

func bookSource(s api.Source, c call, deny bool) bool {
	if bookAsksToken(s) && !c.requests && !deny {
		return false
	}
	if c.requests && (!bookLists(c.token.principal(), s.RequestPrincipals, s.NotRequestPrincipals) || !bookClaims(s.Claims, c.token)) {
		return false
	}
	in := func(blocks []string) bool {
		return slices.ContainsFunc(blocks, func(b string) bool { return netip.MustParsePrefix(b).Contains(c.ip) })
	}
	return bookLists(c.caller.Principal(), s.Principals, s.NotPrincipals) && bookLists(c.caller.Namespace, s.Namespaces, s.NotNamespaces) &&
		bookLists(c.caller.Namespace+"/"+c.caller.ServiceAccount, s.ServiceAccounts, s.NotServiceAccounts) &&
		(len(s.IPBlocks) == 0 || in(s.IPBlocks)) && !in(s.NotIPBlocks)
}

// bookClaims: every claim here is the list of roles.
func bookClaims(list []api.ClaimMatch, tok *bookToken) bool {
	var roles []string
	if tok != nil {
		roles = tok.roles
	}
	return !slices.ContainsFunc(list, func(m api.ClaimMatch) bool {
		one := func(r string) bool { return bookLists(r, m.Values, nil) }
		not := func(r string) bool { return len(m.NotValues) > 0 && bookLists(r, m.NotValues, nil) }
		return len(m.Values) > 0 && !slices.ContainsFunc(roles, one) || slices.ContainsFunc(roles, not)
	})
}

func bookLists(v string, list, not []string) bool {
	one := func(pattern string) bool {
		switch {
		case pattern == "*":
			return v != ""
		case strings.HasPrefix(pattern, "*"):
			return strings.HasSuffix(v, pattern[1:])
		case strings.HasSuffix(pattern, "*"):
			return strings.HasPrefix(v, pattern[:len(pattern)-1])
		}
		return v == pattern
	}
	return (len(list) == 0 || slices.ContainsFunc(list, one)) && !slices.ContainsFunc(not, one)
}

// dice makes up policies.
type dice struct{ *rand.Rand }

func oneOf[T any](d dice, from ...T) T { return from[d.IntN(len(from))] }

func listOf(d dice, from ...string) []string {
	if d.IntN(3) > 0 {
		return nil
	}
	return []string{oneOf(d, from...), oneOf(d, from...)}
}

var bookCallers = []identity.Identity{
	{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"},
	{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "front"},
	{TrustDomain: "cluster.local", Namespace: "other", ServiceAccount: "cart"},
	{TrustDomain: "else.where", Namespace: "shop", ServiceAccount: "cart"},
}

func (d dice) source(requests bool) api.Source {
	for {
		s := api.Source{
			Principals:         listOf(d, "cluster.local/ns/shop/sa/cart", "cluster.local/*", "*/sa/cart", "*"),
			NotPrincipals:      listOf(d, "cluster.local/ns/shop/sa/front", "else.where/*"),
			Namespaces:         listOf(d, "shop", "oth*", "*"),
			NotNamespaces:      listOf(d, "other", "*op"),
			ServiceAccounts:    listOf(d, "shop/cart", "shop/front"),
			NotServiceAccounts: listOf(d, "other/cart"),
			IPBlocks:           listOf(d, "192.0.2.0/25", "198.51.100.0/24"),
			NotIPBlocks:        listOf(d, "192.0.2.7/32"),
		}
		if requests && d.IntN(2) == 0 {
			s.RequestPrincipals = listOf(d, "https://a/b/user", "https://a/*", "*/user", "*")
			s.NotRequestPrincipals = listOf(d, "https://a/b/root", "*/robot", "*")
			if d.IntN(3) == 0 {
				s.Claims = []api.ClaimMatch{{Claim: []string{"org", "roles"}, Values: listOf(d, "admin", "de*"), NotValues: []string{oneOf(d, "admin", "*op")}}}
			}
		}
		if bookAsksToken(s) || s.Principals != nil || s.NotPrincipals != nil || s.Namespaces != nil || s.NotNamespaces != nil || s.ServiceAccounts != nil || s.NotServiceAccounts != nil || s.IPBlocks != nil || s.NotIPBlocks != nil {
			return s
		}
	}
}

func (d dice) token() *bookToken {
	if d.IntN(3) == 0 {
		return nil
	}
	return &bookToken{oneOf(d, "https://a", "https://a/b", "https://c"), oneOf(d, "user", "b/user", "root", "robot"), listOf(d, "admin", "dev", "shop")}
}

func (d dice) operation(requests bool) api.Operation {
	for {
		o := api.Operation{Ports: listOf(d, "8080", "9090"), NotPorts: listOf(d, "9090", "7")}
		if requests {
			o.Methods, o.NotPaths = listOf(d, "GET", "P*"), listOf(d, "/a", "/b*")
		}
		if o.Ports != nil || o.NotPorts != nil || o.Methods != nil || o.NotPaths != nil {
			return o
		}
	}
}

func (d dice) policy(name string) *api.AuthorizationPolicy {
	p := &api.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: oneOf(d, "shop", "shop", "shop", "other", api.SystemNamespace)}}
	p.Spec.Action = oneOf(d, api.ActionAllow, api.ActionDeny)
	p.Spec.DryRun = d.IntN(6) == 0
	if p.Namespace != api.SystemNamespace && d.IntN(2) == 0 {
		p.Spec.Selector = &api.Selector{MatchLabels: map[string]string{"app": "pay"}}
		if d.IntN(2) == 0 {
			p.Spec.Selector.MatchLabels["stage"] = oneOf(d, "one", "two")
		}
	}
	requests := d.IntN(4) == 0
	for range d.IntN(3) {
		r := api.PolicyRule{}
		for range d.IntN(3) {
			r.From = append(r.From, api.From{Source: d.source(requests)})
		}
		for range d.IntN(3) {
			r.To = append(r.To, api.To{Operation: d.operation(requests)})
		}
		p.Spec.Rules = append(p.Spec.Rules, r)
	}
	return p
}

// endpointsOf lists the pods behind a service's port, with the port there.
func endpointsOf(snap *model.Snapshot, service string, port uint16) map[*model.Workload]uint16 {
	out := map[*model.Workload]uint16{}
	for _, w := range snap.Workloads.All() {
		for _, p := range w.Services[service] {
			if p.ServicePort == port {
				out[w] = p.TargetPort
			}
		}
	}
	return out
}
