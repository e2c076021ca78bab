package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// oracle says by the book, with nothing prepared, whether a connection is allowed, who decided (any of the
// names returned; "" for nobody), and which policies in dry run object.
func oracle(ps []*model.Policy, c Conn) (allowed bool, by, objecting []string) {
	var allows, dryAllows, dryHits int
	for _, p := range ps {
		if p.Action == model.Allow {
			if p.DryRun {
				dryAllows++
				if holds(p, c) {
					dryHits++
				}
			} else {
				allows++
			}
			continue
		}
		if holds(p, c) && p.DryRun {
			objecting = append(objecting, p.Key())
		}
	}
	if allows == 0 && dryAllows > 0 && dryHits == 0 {
		for _, p := range ps {
			if p.Action == model.Allow && p.DryRun {
				objecting = append(objecting, p.Key())
			}
		}
	}
	slices.Sort(objecting)
	for _, p := range ps {
		if p.Action == model.Deny && !p.DryRun && holds(p, c) {
			by = append(by, p.Key())
		}
	}
	if len(by) > 0 {
		return false, by, objecting
	}
	if allows == 0 {
		return true, []string{""}, objecting
	}
	for _, p := range ps {
		if p.Action == model.Allow && !p.DryRun && holds(p, c) {
			by = append(by, p.Key())
		}
	}
	if len(by) > 0 {
		return true, by, objecting
	}
	for _, p := range ps {
		if allows == 1 && p.Action == model.Allow && !p.DryRun {
			return false, []string{p.Key()}, objecting
		}
	}
	return false, []string{""}, objecting
}

func holds(p *model.Policy, c Conn) bool {
	if p.Unsupported != "" {
		return p.Action == model.Deny
	}
	for _, r := range p.Rules {
		if ruleHolds(r, c) {
			return true
		}
	}
	return false
}

func ruleHolds(r model.Rule, c Conn) bool {
	for _, cl := range r.Clauses {
		some := len(cl.Matches) == 0
		for _, m := range cl.Matches {
			if matchHolds(m, c) {
				some = true
			}
		}
		if !some {
			return false
		}
	}
	return true
}

func matchHolds(m model.Match, c Conn) bool {
	known := c.Source != identity.Identity{}
	text := func(list []model.StringMatch, v string) bool {
		for _, s := range list {
			if !known {
				continue
			}
			pattern := s.String()
			switch {
			case pattern == "*":
				if v != "" {
					return true
				}
			case strings.HasPrefix(pattern, "*"):
				if strings.HasSuffix(v, pattern[1:]) {
					return true
				}
			case strings.HasSuffix(pattern, "*"):
				if strings.HasPrefix(v, pattern[:len(pattern)-1]) {
					return true
				}
			case pattern == v:
				return true
			}
		}
		return false
	}
	account := func(list []model.ServiceAccountMatch) bool {
		for _, s := range list {
			if known && s.Namespace+"/"+s.ServiceAccount == c.Source.Namespace+"/"+c.Source.ServiceAccount {
				return true
			}
		}
		return false
	}
	block := func(list []netip.Prefix, a netip.Addr) bool {
		for _, p := range list {
			if inBlock(p, a) {
				return true
			}
		}
		return false
	}
	port := func(list []uint16) bool {
		for _, p := range list {
			if p == c.Dest.Port() {
				return true
			}
		}
		return false
	}
	principal := fmt.Sprintf("%s/ns/%s/sa/%s", c.Source.TrustDomain, c.Source.Namespace, c.Source.ServiceAccount)
	for _, x := range []struct {
		n    int
		hit  bool
		want bool
	}{
		{len(m.Namespaces), text(m.Namespaces, c.Source.Namespace), true},
		{len(m.NotNamespaces), text(m.NotNamespaces, c.Source.Namespace), false},
		{len(m.ServiceAccounts), account(m.ServiceAccounts), true},
		{len(m.NotServiceAccounts), account(m.NotServiceAccounts), false},
		{len(m.Principals), text(m.Principals, principal), true},
		{len(m.NotPrincipals), text(m.NotPrincipals, principal), false},
		{len(m.SourceIPs), block(m.SourceIPs, c.SourceIP), true},
		{len(m.NotSourceIPs), block(m.NotSourceIPs, c.SourceIP), false},
		{len(m.DestinationIPs), block(m.DestinationIPs, c.Dest.Addr()), true},
		{len(m.NotDestinationIPs), block(m.NotDestinationIPs, c.Dest.Addr()), false},
		{len(m.Ports), port(m.Ports), true},
		{len(m.NotPorts), port(m.NotPorts), false},
	} {
		if x.n > 0 && x.hit != x.want {
			return false
		}
	}
	return true
}

// inBlock compares bit by bit; an IPv4 address and its mapped form are one, and a zone is no part of either.
func inBlock(p netip.Prefix, a netip.Addr) bool {
	from, n := p.Addr(), p.Bits()
	if v4(from) != v4(a) {
		return false // IPv4 is no part of IPv6, not even of ::/0
	}
	if from.Is4() {
		n += 96
	}
	x, y := from.As16(), a.As16()
	for i := range n {
		if (x[i/8]^y[i/8])>>(7-i%8)&1 != 0 {
			return false
		}
	}
	return true
}

func v4(a netip.Addr) bool { return a.Is4() || a.Is4In6() }

// dice makes cases from small vocabularies, so that hits and misses are both frequent.
type dice struct{ *rand.Rand }

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

// some makes a list that is usually empty.
func some[T any](d dice, make func() T) (out []T) {
	if d.IntN(5) > 0 {
		return nil
	}
	n := 1 + d.IntN(3)
	if d.IntN(20) == 0 {
		n = 30 // beyond what is searched one by one
	}
	for range n {
		out = append(out, make())
	}
	return out
}

var (
	dNames  = []string{"shop", "shop-b", "pay", "a"}
	dTrust  = []string{"cluster.local", "other"}
	dBlocks = []string{"10.0.0.0/8", "10.0.0.0/30", "10.0.0.1/32", "0.0.0.0/0", "fd00::/16", "fd00::1/128", "::/0", "10.0.0.2/31", "::ffff:10.0.0.0/126", "fe80::/10"}
	dAddrs  = []string{"10.0.0.1", "10.0.0.2", "10.9.9.9", "fd00::1", "fd01::1", "192.168.0.1", "::ffff:10.0.0.1", "::ffff:10.9.9.9", "fe80::1%eth0"}
)

func (d dice) name() model.StringMatch {
	n := pick(d, dNames)
	return model.ParseStringMatch(pick(d, []string{n, n, n + "*", "*" + n, "*", n[:1] + "*", "*" + n[len(n)-1:]}))
}

func (d dice) principal() model.StringMatch {
	p := d.identity().Principal()
	return model.ParseStringMatch(pick(d, []string{p, p, p[:d.IntN(len(p))] + "*", "*" + p[d.IntN(len(p)):], "*", "x" + p}))
}

func (d dice) identity() identity.Identity {
	return identity.Identity{TrustDomain: pick(d, dTrust), Namespace: pick(d, dNames), ServiceAccount: pick(d, dNames)}
}

func (d dice) block() netip.Prefix { return netip.MustParsePrefix(pick(d, dBlocks)) }
func (d dice) port() uint16        { return uint16(80 + d.IntN(4)) }
func (d dice) account() model.ServiceAccountMatch {
	return model.ServiceAccountMatch{Namespace: pick(d, dNames), ServiceAccount: pick(d, dNames)}
}

func (d dice) match() model.Match {
	return model.Match{
		Namespaces: some(d, d.name), NotNamespaces: some(d, d.name),
		ServiceAccounts: some(d, d.account), NotServiceAccounts: some(d, d.account),
		Principals: some(d, d.principal), NotPrincipals: some(d, d.principal),
		SourceIPs: some(d, d.block), NotSourceIPs: some(d, d.block),
		DestinationIPs: some(d, d.block), NotDestinationIPs: some(d, d.block),
		Ports: some(d, d.port), NotPorts: some(d, d.port),
	}
}

func (d dice) policy(i int) *model.Policy {
	p := &model.Policy{Name: fmt.Sprintf("p%d", i), Namespace: pick(d, dNames), Action: pick(d, []model.Action{model.Allow, model.Allow, model.Deny}), DryRun: d.IntN(5) == 0}
	if d.IntN(25) == 0 {
		p.Unsupported = "something"
	}
	for range d.IntN(4) {
		var r model.Rule
		for range d.IntN(3) {
			var c model.Clause
			for range d.IntN(3) {
				c.Matches = append(c.Matches, d.match())
			}
			r.Clauses = append(r.Clauses, c)
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func (d dice) conn() Conn {
	c := Conn{SourceIP: netip.MustParseAddr(pick(d, dAddrs)), Dest: netip.AddrPortFrom(netip.MustParseAddr(pick(d, dAddrs)), d.port())}
	if d.IntN(4) > 0 {
		c.Source = d.identity()
	}
	return c
}

func TestOracle(t *testing.T) {
	const cases, seed = 100_000, uint64(20_240_607)
	d := dice{rand.New(rand.NewPCG(seed, 1))}
	var allowed, decided, objected int
	for done := 0; done < cases; {
		var ps []*model.Policy
		for i := range d.IntN(5) {
			ps = append(ps, d.policy(i))
		}
		set := Compile(ps)
		for range 10 {
			c := d.conn()
			v := set.Decide(c)
			ok, by, objecting := oracle(ps, c)
			slices.Sort(v.DryRun)
			if v.Allowed != ok || !slices.Contains(by, v.Policy) || !slices.Equal(v.DryRun, objecting) {
				t.Fatalf("seed %d, case %d: %+v\ngot %+v, the oracle says %v by %q, dry run %q\npolicies %s", seed, done, c, v, ok, by, objecting, dump(ps))
			}
			if v.Rule != NoRule {
				decided++
			}
			if ok {
				allowed++
			}
			objected += len(objecting)
			done++
		}
	}
	t.Logf("allowed %d, decided by a rule %d, objections in dry run %d of %d", allowed, decided, objected, cases)
	if allowed < cases/5 || allowed > cases*4/5 || decided < cases/5 || objected < cases/100 {
		t.Error("the cases are too much alike to prove anything")
	}
}

func dump(ps []*model.Policy) (out string) {
	for _, p := range ps {
		out += fmt.Sprintf("%+v\n", *p)
	}
	return out
}
