package policy

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"

	"github.com/weftmesh/weft/pkg/model"
)

// principalRoom holds the longest principal that Kubernetes can make (trust domain 253, namespace 63,
// service account 253), so that it is put together on the stack. Longer ones cost an allocation.
const principalRoom = 592

// subject is a Conn in the form that matches read.
type subject struct {
	anonymous                     bool
	namespace, account, principal []byte
	source, dest                  netip.Addr
	port                          uint16
}

func newSubject(c Conn, principals bool, room []byte) subject {
	id := c.Source
	s := subject{anonymous: id.IsZero(), source: plain(c.SourceIP), dest: plain(c.Dest.Addr()), port: c.Dest.Port()}
	if s.anonymous {
		return s
	}
	// One buffer for all: td/ns/NAMESPACE/sa/ACCOUNT.
	if !principals {
		id.TrustDomain = ""
	}
	room = append(append(room, id.TrustDomain...), "/ns/"...)
	ns := len(room)
	room = append(append(room, id.Namespace...), "/sa/"...)
	sa := len(room)
	s.principal = append(room, id.ServiceAccount...)
	s.namespace, s.account = s.principal[ns:sa-len("/sa/")], s.principal[sa:]
	return s
}

// plain is the address as blocks are written: IPv4 as such, and without the zone that a link-local address
// may carry, for a netip.Prefix contains no address with a zone and a DENY of it would be missed.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// in tells whether a name of the caller is among ts; a caller without an identity has no names.
func (s *subject) in(ts *texts, name []byte) bool { return ts.some && !s.anonymous && ts.match(name) }

func (s *subject) runsAs(as accounts) bool {
	if s.anonymous {
		return false
	}
	for i := range as {
		if as[i].Namespace == string(s.namespace) && as[i].ServiceAccount == string(s.account) {
			return true
		}
	}
	return false
}

type accounts []model.ServiceAccountMatch

func (a accounts) some() bool { return len(a) > 0 }

func compileAccounts(as []model.ServiceAccountMatch) accounts {
	return append(accounts(nil), as...)
}

// few is up to where looking at each entry is faster than a table.
const few = 8

// texts is a list of string matches.
type texts struct {
	some     bool // the list was not empty
	presence bool
	exact    []string            // up to a few
	table    map[string]struct{} // beyond
	prefixes []string
	suffixes []string
}

func compileTexts(ms []model.StringMatch) (t texts, err error) {
	t.some = len(ms) > 0
	for _, m := range ms {
		switch m.Kind {
		case model.Exact:
			t.exact = append(t.exact, m.Value)
		case model.Prefix:
			t.prefixes = append(t.prefixes, m.Value)
		case model.Suffix:
			t.suffixes = append(t.suffixes, m.Value)
		case model.Presence:
			t.presence = true
		default:
			return t, fmt.Errorf("a kind of string match (%d) that this version does not know", m.Kind)
		}
	}
	if len(t.exact) > few {
		t.table = make(map[string]struct{}, len(t.exact))
		for _, v := range t.exact {
			t.table[v] = struct{}{}
		}
		t.exact = nil
	}
	return t, nil
}

// The conversions below do not copy: the compiler sees that they are only compared.
func (t *texts) match(name []byte) bool {
	if t.presence && len(name) > 0 {
		return true
	}
	for _, v := range t.exact {
		if v == string(name) {
			return true
		}
	}
	if _, ok := t.table[string(name)]; ok {
		return true
	}
	for _, v := range t.prefixes {
		if len(name) >= len(v) && string(name[:len(v)]) == v {
			return true
		}
	}
	for _, v := range t.suffixes {
		if len(name) >= len(v) && string(name[len(name)-len(v):]) == v {
			return true
		}
	}
	return false
}

// networks is a list of address blocks.
type networks struct {
	some  bool
	list  []netip.Prefix // up to a few
	table *bart.Lite     // beyond
}

func compileNetworks(ps []netip.Prefix) (n networks, err error) {
	n.some = len(ps) > 0
	for _, p := range ps {
		if !p.IsValid() {
			return n, fmt.Errorf("an invalid IP block")
		}
		if a := p.Addr(); a.Is4In6() {
			if p.Bits() < 96 { // callers are compared as IPv4, which no block of IPv6 contains
				return n, fmt.Errorf("the block %s, which is neither of IPv4 nor of IPv6", p)
			}
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		n.list = append(n.list, p.Masked())
	}
	if len(n.list) > few {
		n.table = new(bart.Lite)
		for _, p := range n.list {
			n.table.Insert(p)
		}
		n.list = nil
	}
	return n, nil
}

func (n *networks) contain(a netip.Addr) bool {
	if n.table != nil {
		return n.table.Contains(a)
	}
	for _, p := range n.list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
