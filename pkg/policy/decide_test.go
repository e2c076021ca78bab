package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

func id(ns, sa string) identity.Identity {
	return identity.Identity{TrustDomain: "cluster.local", Namespace: ns, ServiceAccount: sa}
}

func conn(who identity.Identity, src, dst string) Conn {
	return Conn{Source: who, SourceIP: netip.MustParseAddr(src), Dest: netip.MustParseAddrPort(dst)}
}

// front calls port 80 of the workload.
var front = conn(id("shop", "front"), "10.0.0.1", "10.0.1.1:80")

func texts1(vs ...string) (out []model.StringMatch) {
	for _, v := range vs {
		out = append(out, model.ParseStringMatch(v))
	}
	return out
}

func blocks(vs ...string) (out []netip.Prefix) {
	for _, v := range vs {
		out = append(out, netip.MustParsePrefix(v))
	}
	return out
}

// one makes a policy of one rule with one clause of these matches.
func one(name string, a model.Action, ms ...model.Match) *model.Policy {
	return &model.Policy{Name: name, Namespace: "shop", Action: a, Rules: []model.Rule{{Clauses: []model.Clause{{Matches: ms}}}}}
}

func with(p *model.Policy, edit func(*model.Policy)) *model.Policy { edit(p); return p }

func dry(p *model.Policy) *model.Policy { p.DryRun = true; return p }

var everyone = model.Match{}

func TestOrder(t *testing.T) {
	hit := model.Match{Namespaces: texts1("shop")}
	miss := model.Match{Namespaces: texts1("other")}
	for _, c := range []struct {
		name     string
		policies []*model.Policy
		allowed  bool
		policy   string
		rule     int
		reason   string
		dry      []string
	}{
		{"no policy", nil, true, "", NoRule, "no ALLOW policy binds", nil},
		{"allow hits", []*model.Policy{one("a", model.Allow, hit)}, true, "shop/a", 0, "allowed by ALLOW policy shop/a, rule 1", nil},
		{"allow misses", []*model.Policy{one("a", model.Allow, miss)}, false, "shop/a", NoRule, "no rule of the ALLOW policies shop/a matches", nil},
		{"several allows miss", []*model.Policy{one("b", model.Allow, miss), one("a", model.Allow, miss)}, false, "", NoRule, "shop/a, shop/b", nil},
		{"one of several allows hits", []*model.Policy{one("a", model.Allow, miss), one("b", model.Allow, hit)}, true, "shop/b", 0, "", nil},
		{"deny hits", []*model.Policy{one("d", model.Deny, hit)}, false, "shop/d", 0, "denied by DENY policy shop/d, rule 1", nil},
		{"deny misses", []*model.Policy{one("d", model.Deny, miss)}, true, "", NoRule, "", nil},
		{"deny wins over allow", []*model.Policy{one("a", model.Allow, hit), one("d", model.Deny, hit)}, false, "shop/d", 0, "", nil},
		{"deny misses, allow misses", []*model.Policy{one("a", model.Allow, miss), one("d", model.Deny, miss)}, false, "shop/a", NoRule, "", nil},
		{"allow nothing", []*model.Policy{{Name: "a", Namespace: "shop"}}, false, "shop/a", NoRule, "", nil},
		{"deny nothing", []*model.Policy{{Name: "d", Namespace: "shop", Action: model.Deny}}, true, "", NoRule, "", nil},
		{"rule without clauses", []*model.Policy{{Name: "d", Namespace: "shop", Action: model.Deny, Rules: []model.Rule{{}}}}, false, "shop/d", 0, "", nil},
		{"clause without matches", []*model.Policy{one("d", model.Deny)}, false, "shop/d", 0, "", nil},
		{"second rule", []*model.Policy{with(one("a", model.Allow, miss), func(p *model.Policy) {
			p.Rules = append(p.Rules, model.Rule{Clauses: []model.Clause{{Matches: []model.Match{miss, hit}}}})
		})}, true, "shop/a", 1, "rule 2", nil},
		{"one clause of two fails", []*model.Policy{with(one("a", model.Allow, hit), func(p *model.Policy) {
			p.Rules[0].Clauses = append(p.Rules[0].Clauses, model.Clause{Matches: []model.Match{miss}})
		})}, false, "shop/a", NoRule, "", nil},

		{"dry deny", []*model.Policy{dry(one("d", model.Deny, hit))}, true, "", NoRule, "", []string{"shop/d"}},
		{"dry deny misses", []*model.Policy{dry(one("d", model.Deny, miss))}, true, "", NoRule, "", nil},
		{"dry allow misses", []*model.Policy{dry(one("a", model.Allow, miss))}, true, "", NoRule, "", []string{"shop/a"}},
		{"dry allow hits", []*model.Policy{dry(one("a", model.Allow, hit))}, true, "", NoRule, "", nil},
		{"one of two dry allows hits", []*model.Policy{dry(one("a", model.Allow, miss)), dry(one("b", model.Allow, hit))}, true, "", NoRule, "", nil},
		{"dry allow beside an enforced one", []*model.Policy{dry(one("a", model.Allow, miss)), one("b", model.Allow, hit)}, true, "shop/b", 0, "", nil},
		{"dry allow does not allow", []*model.Policy{dry(one("a", model.Allow, hit)), one("b", model.Allow, miss)}, false, "shop/b", NoRule, "", nil},
		{"dry and enforced deny", []*model.Policy{dry(one("a", model.Deny, hit)), one("b", model.Deny, hit)}, false, "shop/b", 0, "", []string{"shop/a"}},

		{"unsupported allow", []*model.Policy{with(one("a", model.Allow, hit), unsupported)}, false, "shop/a", NoRule, "HTTP methods", nil},
		{"unsupported deny", []*model.Policy{with(one("d", model.Deny, miss), unsupported)}, false, "shop/d", NoRule, "HTTP methods", nil},
		{"unsupported deny before allow", []*model.Policy{one("a", model.Allow, hit), with(one("d", model.Deny, miss), unsupported)}, false, "shop/d", NoRule, "", nil},
		{"unsupported dry deny", []*model.Policy{dry(with(one("d", model.Deny, miss), unsupported))}, true, "", NoRule, "", []string{"shop/d"}},
		{"unsupported dry allow", []*model.Policy{dry(with(one("a", model.Allow, hit), unsupported))}, true, "", NoRule, "", []string{"shop/a"}},
		{"unknown action", []*model.Policy{one("x", 7, miss)}, false, "shop/x", NoRule, "action 7", nil},
		{"unknown action in dry run", []*model.Policy{dry(one("x", 7, miss))}, true, "", NoRule, "", []string{"shop/x"}},
		{"unsupported allow beside one that hits", []*model.Policy{with(one("a", model.Allow, hit), unsupported), one("b", model.Allow, hit)}, true, "shop/b", 0, "", nil},
		{"unknown kind in allow", []*model.Policy{one("a", model.Allow, model.Match{Namespaces: []model.StringMatch{{Kind: 9}, {Kind: model.Presence}}})}, false, "shop/a", NoRule, "does not know", nil},
		{"unknown kind in deny", []*model.Policy{one("d", model.Deny, model.Match{NotPrincipals: []model.StringMatch{{Kind: 9}}})}, false, "shop/d", NoRule, "does not know", nil},
		{"invalid block in deny", []*model.Policy{one("d", model.Deny, model.Match{SourceIPs: []netip.Prefix{{}}})}, false, "shop/d", NoRule, "invalid IP block", nil},
		{"nil policy", []*model.Policy{nil, one("d", model.Deny, everyone)}, false, "shop/d", 0, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := Compile(c.policies).Decide(front)
			if v.Allowed != c.allowed || v.Policy != c.policy || v.Rule != c.rule || !strings.Contains(v.Reason, c.reason) || v.Reason == "" || !slices.Equal(v.DryRun, c.dry) {
				t.Errorf("got %+v", v)
			}
			slices.Reverse(c.policies)
			if again := Compile(c.policies).Decide(front); fmt.Sprint(again) != fmt.Sprint(v) {
				t.Errorf("the order of policies matters: %+v, then %+v", v, again)
			}
		})
	}
}

func unsupported(p *model.Policy) { p.Unsupported = "HTTP methods" }

func TestMatch(t *testing.T) {
	nobody := conn(identity.Identity{}, "10.0.0.1", "10.0.1.1:80")
	v6 := conn(id("shop", "front"), "fd00::1", "[fd00:1::1]:80")
	mapped := conn(id("shop", "front"), "::ffff:10.0.0.1", "[::ffff:10.0.1.1]:80")
	zoned := conn(id("shop", "front"), "fe80::1%eth0", "[fe80::2%eth0]:80")
	sa := func(ns, name string) []model.ServiceAccountMatch {
		return []model.ServiceAccountMatch{{Namespace: ns, ServiceAccount: name}}
	}
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf("192.168.%d.0/24", i))
	}
	for _, c := range []struct {
		name  string
		match model.Match
		conn  Conn
		want  bool
	}{
		{"everything", everyone, front, true},
		{"everything, nobody", everyone, nobody, true},
		{"namespace", model.Match{Namespaces: texts1("x", "shop")}, front, true},
		{"namespace prefix", model.Match{Namespaces: texts1("sh*")}, front, true},
		{"namespace suffix", model.Match{Namespaces: texts1("*op")}, front, true},
		{"namespace present", model.Match{Namespaces: texts1("*")}, front, true},
		{"namespace is case-sensitive", model.Match{Namespaces: texts1("Shop")}, front, false},
		{"namespace prefix longer than it", model.Match{Namespaces: texts1("shopping*")}, front, false},
		{"nobody's namespace present", model.Match{Namespaces: texts1("*")}, nobody, false},
		{"nobody's namespace empty", model.Match{Namespaces: []model.StringMatch{{Kind: model.Exact}}}, nobody, false},
		{"nobody's namespace empty prefix", model.Match{Namespaces: []model.StringMatch{{Kind: model.Prefix}}}, nobody, false},
		{"an empty namespace is not present", model.Match{Namespaces: texts1("*")}, conn(id("", "front"), "10.0.0.1", "10.0.1.1:80"), false},
		{"not namespace", model.Match{NotNamespaces: texts1("shop")}, front, false},
		{"not other namespace", model.Match{NotNamespaces: texts1("other")}, front, true},
		{"nobody passes not", model.Match{NotNamespaces: texts1("*"), NotPrincipals: texts1("*"), NotServiceAccounts: sa("shop", "front")}, nobody, true},
		{"service account", model.Match{ServiceAccounts: sa("shop", "front")}, front, true},
		{"service account of another namespace", model.Match{ServiceAccounts: sa("other", "front")}, front, false},
		{"other service account", model.Match{ServiceAccounts: sa("shop", "fron")}, front, false},
		{"not service account", model.Match{NotServiceAccounts: sa("shop", "front")}, front, false},
		{"nobody's service account", model.Match{ServiceAccounts: sa("", "")}, nobody, false},
		{"principal", model.Match{Principals: texts1("cluster.local/ns/shop/sa/front")}, front, true},
		{"principal with another trust domain", model.Match{Principals: texts1("other/ns/shop/sa/front")}, front, false},
		{"principal prefix", model.Match{Principals: texts1("cluster.local/ns/shop/*")}, front, true},
		{"principal suffix", model.Match{Principals: texts1("*/sa/front")}, front, true},
		{"principal present", model.Match{Principals: texts1("*")}, front, true},
		{"nobody's principal", model.Match{Principals: texts1("*")}, nobody, false},
		{"not principal, somebody", model.Match{NotPrincipals: texts1("*")}, front, false},
		{"source block", model.Match{SourceIPs: blocks("10.0.0.0/24")}, front, true},
		{"source block with host bits", model.Match{SourceIPs: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("10.0.0.77"), 24)}}, front, true},
		{"source mapped", model.Match{SourceIPs: blocks("10.0.0.0/24")}, mapped, true},
		{"block mapped", model.Match{SourceIPs: blocks("::ffff:10.0.0.0/120")}, front, true},
		{"source elsewhere", model.Match{SourceIPs: blocks("10.0.1.0/24", "fd00::/8")}, front, false},
		{"all IPv4", model.Match{SourceIPs: blocks("0.0.0.0/0")}, front, true},
		{"all IPv4 is not IPv6", model.Match{SourceIPs: blocks("0.0.0.0/0")}, v6, false},
		{"source IPv6", model.Match{SourceIPs: blocks("fd00::/16")}, v6, true},
		{"not source", model.Match{NotSourceIPs: blocks("10.0.0.1/32")}, front, false},
		{"many blocks, none", model.Match{SourceIPs: blocks(many...)}, front, false},
		{"many blocks, one", model.Match{SourceIPs: blocks(append(many, "10.0.0.1/32")...)}, front, true},
		{"destination", model.Match{DestinationIPs: blocks("10.0.1.1/32")}, front, true},
		{"destination is not source", model.Match{DestinationIPs: blocks("10.0.0.1/32")}, front, false},
		{"not destination", model.Match{NotDestinationIPs: blocks("10.0.1.0/24")}, mapped, false},
		{"port", model.Match{Ports: []uint16{443, 80}}, front, true},
		{"other port", model.Match{Ports: []uint16{443}}, front, false},
		{"not port", model.Match{NotPorts: []uint16{80}}, front, false},
		{"not other port", model.Match{NotPorts: []uint16{443}}, front, true},
		{"not namespace prefix", model.Match{NotNamespaces: texts1("sh*")}, front, false},
		{"not namespace suffix", model.Match{NotNamespaces: texts1("*op")}, front, false},
		{"not one of several namespaces", model.Match{NotNamespaces: texts1("other", "shop")}, front, false},
		{"not other service account", model.Match{NotServiceAccounts: sa("shop", "cart")}, front, true},
		{"not this account of another namespace", model.Match{NotServiceAccounts: sa("other", "front")}, front, true},
		{"not this principal", model.Match{NotPrincipals: texts1("cluster.local/ns/shop/sa/front")}, front, false},
		{"not other principal", model.Match{NotPrincipals: texts1("cluster.local/ns/shop/sa/cart")}, front, true},
		{"not principal of another trust domain", model.Match{NotPrincipals: texts1("other/ns/shop/sa/front")}, front, true},
		{"not other source", model.Match{NotSourceIPs: blocks("10.0.0.2/32")}, front, true},
		{"not source mapped", model.Match{NotSourceIPs: blocks("10.0.0.1/32")}, mapped, false},
		{"not block mapped", model.Match{NotSourceIPs: blocks("::ffff:10.0.0.1/128")}, front, false},
		{"not source, many blocks", model.Match{NotSourceIPs: blocks(append(many, "10.0.0.1/32")...)}, mapped, false},
		{"not other destination", model.Match{NotDestinationIPs: blocks("10.0.2.0/24")}, front, true},
		{"destination mapped", model.Match{DestinationIPs: blocks("10.0.1.0/24")}, mapped, true},
		{"destination IPv6", model.Match{DestinationIPs: blocks("fd00:1::/32")}, v6, true},
		{"source with a zone", model.Match{SourceIPs: blocks("fe80::/10")}, zoned, true},
		{"source with a zone, many blocks", model.Match{SourceIPs: blocks(append(many, "fe80::/10")...)}, zoned, true},
		{"not source with a zone", model.Match{NotSourceIPs: blocks("fe80::/10")}, zoned, false},
		{"destination with a zone", model.Match{DestinationIPs: blocks("fe80::2/128")}, zoned, true},
		{"not one of several ports", model.Match{NotPorts: []uint16{443, 80}}, front, false},
		{"all hold", model.Match{Namespaces: texts1("shop"), Ports: []uint16{80}, NotSourceIPs: blocks("10.0.0.2/32")}, front, true},
		{"one fails", model.Match{Namespaces: texts1("shop"), Ports: []uint16{81}}, front, false},
		{"in and out", model.Match{Namespaces: texts1("*"), NotNamespaces: texts1("shop")}, front, false},
	} {
		if got := Compile([]*model.Policy{one("d", model.Deny, c.match)}).Decide(c.conn); got.Allowed == c.want {
			t.Errorf("%s: %+v, want a match: %v", c.name, got, c.want)
		}
	}
}

// STRICT is a DENY of callers without a principal.
func TestStrict(t *testing.T) {
	s := Compile([]*model.Policy{one("strict", model.Deny, model.Match{NotPrincipals: texts1("*")})})
	if v := s.Decide(front); !v.Allowed {
		t.Error(v)
	}
	if v := s.Decide(Conn{SourceIP: front.SourceIP, Dest: front.Dest}); v.Allowed {
		t.Error(v)
	}
}

func TestReasonNamesPlainText(t *testing.T) {
	s := Compile([]*model.Policy{one("a", model.Allow, model.Match{Principals: texts1("*/sa/front")})})
	if v := s.Decide(Conn{SourceIP: front.SourceIP, Dest: front.Dest}); !strings.Contains(v.Reason, "no identity") {
		t.Error(v.Reason)
	}
	if v := s.Decide(conn(id("shop", "x"), "10.0.0.1", "10.0.1.1:80")); strings.Contains(v.Reason, "no identity") {
		t.Error(v.Reason)
	}
}

// A block around all of IPv4 in its mapped form is not understood, so it opens nothing and closes all.
func TestMappedBlockShorterThanIPv4(t *testing.T) {
	m := model.Match{SourceIPs: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:10.0.0.0"), 90)}}
	for _, a := range []model.Action{model.Allow, model.Deny} {
		for _, src := range []string{"10.0.0.1", "::ffff:10.0.0.1", "fd00::1"} {
			if v := Compile([]*model.Policy{one("a", a, m)}).Decide(conn(id("shop", "x"), src, "10.0.1.1:80")); v.Allowed {
				t.Errorf("action %d from %s: %+v", a, src, v)
			}
		}
	}
}

func TestClosed(t *testing.T) {
	if v := (*Set)(nil).Decide(front); v.Allowed || v.Reason == "" {
		t.Error(v)
	}
	if v := Missing("shop/p"); v.Allowed || v.Policy != "shop/p" || v.Reason != "policy shop/p not received yet" {
		t.Error(v)
	}
	// The zero Conn has no identity, address or port: it is matched by no positive list.
	m := model.Match{SourceIPs: blocks("0.0.0.0/0", "::/0")}
	if v := Compile([]*model.Policy{one("a", model.Allow, m)}).Decide(Conn{}); v.Allowed {
		t.Error(v)
	}
}

// What was compiled does not follow later changes of its input.
func TestSetIsImmutable(t *testing.T) {
	p := one("a", model.Allow, model.Match{Ports: []uint16{80}, ServiceAccounts: []model.ServiceAccountMatch{{Namespace: "shop", ServiceAccount: "front"}}})
	in := []*model.Policy{p}
	s := Compile(in)
	in[0] = one("d", model.Deny, everyone)
	p.Rules[0].Clauses[0].Matches[0].Ports[0] = 81
	p.Rules[0].Clauses[0].Matches[0].ServiceAccounts[0].ServiceAccount = "x"
	if v := s.Decide(front); !v.Allowed {
		t.Error(v)
	}
}

func TestLongIdentity(t *testing.T) {
	who := identity.Identity{TrustDomain: strings.Repeat("t", 300), Namespace: strings.Repeat("n", 300), ServiceAccount: strings.Repeat("s", 300)}
	s := Compile([]*model.Policy{one("a", model.Allow, model.Match{Principals: []model.StringMatch{{Value: who.Principal()}}, Namespaces: []model.StringMatch{{Value: who.Namespace}}})})
	if v := s.Decide(conn(who, "10.0.0.1", "10.0.1.1:80")); !v.Allowed {
		t.Error(v)
	}
}

func typical() *Set {
	var ps []*model.Policy
	for i := range 5 {
		ps = append(ps, one(fmt.Sprintf("d%d", i), model.Deny, model.Match{NotPrincipals: texts1("*")}, model.Match{Namespaces: texts1("bad-*"), Ports: []uint16{uint16(8000 + i)}}))
	}
	ps = append(ps, one("a0", model.Allow, model.Match{Principals: texts1("cluster.local/ns/shop/sa/cart"), SourceIPs: blocks("10.1.0.0/16")}),
		one("a1", model.Allow, model.Match{Principals: texts1("*/sa/front"), Ports: []uint16{80}}))
	return Compile(ps)
}

func TestDecideDoesNotAllocate(t *testing.T) {
	s := typical()
	refused := conn(id("shop", "stranger"), "10.0.0.1", "10.0.1.1:80")
	for name, c := range map[string]Conn{"allowed": front, "refused": refused, "denied": {SourceIP: front.SourceIP, Dest: front.Dest}} {
		if v := s.Decide(c); v.Allowed != (name == "allowed") {
			t.Errorf("%s: %+v", name, v)
		}
		if n := testing.AllocsPerRun(100, func() { s.Decide(c) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	s := typical()
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(front)
	}
}

func BenchmarkDecideManyBlocks(b *testing.B) {
	var all []string
	for i := range 4000 {
		all = append(all, fmt.Sprintf("172.%d.%d.0/24", 16+i/256, i%256))
	}
	s := Compile([]*model.Policy{one("d", model.Deny, model.Match{SourceIPs: blocks(all...)})})
	b.ReportAllocs()
	for b.Loop() {
		s.Decide(front)
	}
}
