package controller

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// l4Rules turns compiled rules into what ztunnels can evaluate: callers and ports. What they cannot is
// noted in beyond, and such a rule left out.
func (p *authPolicy) l4Rules(compiled []compiledRule) []model.Rule {
	var out []model.Rule
	for _, r := range compiled {
		before := len(p.beyond)
		var rule model.Rule
		for j, m := range r.From {
			if m.Token != nil {
				p.beyond = append(p.beyond, field{fmt.Sprintf("spec.rules[%d].from[%d].source", r.index, j), "tokens of end users can be told only at a waypoint"})
			}
		}
		if len(r.From) > 0 {
			rule.Clauses = append(rule.Clauses, model.Clause{Matches: r.From})
		}
		var ops []model.Match
		for j, op := range r.To {
			p.onlyAtWaypoint(fmt.Sprintf("spec.rules[%d].to[%d].operation", r.index, j), op)
			ops = append(ops, model.Match{Ports: op.Ports, NotPorts: op.NotPorts})
		}
		if len(ops) > 0 {
			rule.Clauses = append(rule.Clauses, model.Clause{Matches: ops})
		}
		if !r.broken && len(p.beyond) == before {
			out = append(out, rule)
		}
	}
	return out
}

// onlyAtWaypoint notes what of an operation a ztunnel cannot see.
func (p *authPolicy) onlyAtWaypoint(path string, op model.L7Operation) {
	if len(op.Headers) > 0 {
		p.beyond = append(p.beyond, field{path + ".headers", "headers can be told only at a waypoint"})
	}
	for _, f := range []struct {
		field string
		list  []model.StringMatch
	}{
		{"hosts", op.Hosts}, {"notHosts", op.NotHosts}, {"methods", op.Methods}, {"notMethods", op.NotMethods}, {"paths", op.Paths}, {"notPaths", op.NotPaths},
	} {
		if len(f.list) > 0 {
			p.beyond = append(p.beyond, field{path + "." + f.field, f.field + " can be told only at a waypoint"})
		}
	}
}

func isEmptyOperation(op api.Operation) bool {
	return len(op.Ports)+len(op.NotPorts)+len(op.Hosts)+len(op.NotHosts)+len(op.Methods)+len(op.NotMethods)+len(op.Paths)+len(op.NotPaths)+len(op.Headers) == 0
}

// ports reads ports; what is none is noted.
func (p *authPolicy) ports(path string, list []string) []uint16 {
	var out []uint16
	for i, s := range list {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			p.refuse(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is not a port", s), "write a number from 1 to 65535 in quotes")
			continue
		}
		out = append(out, uint16(n))
	}
	return out
}

// sources compiles callers.
func (p *authPolicy) sources(path string, from []api.From) []model.Match {
	var out []model.Match
	for i, f := range from {
		at := fmt.Sprintf("%s.from[%d].source", path, i)
		s := f.Source
		m := model.Match{
			Principals: p.texts(at+".principals", s.Principals, checkPrincipal), NotPrincipals: p.texts(at+".notPrincipals", s.NotPrincipals, checkPrincipal),
			Namespaces: p.texts(at+".namespaces", s.Namespaces, checkNamespace), NotNamespaces: p.texts(at+".notNamespaces", s.NotNamespaces, checkNamespace),
			ServiceAccounts: p.accounts(at+".serviceAccounts", s.ServiceAccounts), NotServiceAccounts: p.accounts(at+".notServiceAccounts", s.NotServiceAccounts),
			SourceIPs: p.blocks(at+".ipBlocks", s.IPBlocks), NotSourceIPs: p.blocks(at+".notIpBlocks", s.NotIPBlocks),
		}
		m.Token = p.token(at, s)
		if m.Token == nil && len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces)+len(s.ServiceAccounts)+len(s.NotServiceAccounts)+len(s.IPBlocks)+len(s.NotIPBlocks) == 0 {
			p.refuse(at, "the source is empty", "leave from out to mean every caller")
		}
		out = append(out, m)
	}
	return out
}

// texts reads strings that may begin or end with a star.
func (p *authPolicy) texts(path string, list []string, check func(model.StringMatch) (why, next string)) []model.StringMatch {
	var out []model.StringMatch
	for i, s := range list {
		if m, ok := p.text(fmt.Sprintf("%s[%d]", path, i), s, check); ok {
			out = append(out, m)
		}
	}
	return out
}

func (p *authPolicy) text(at, s string, check func(model.StringMatch) (why, next string)) (model.StringMatch, bool) {
	m := model.ParseStringMatch(s)
	switch {
	case s == "":
		p.refuse(at, "the value is empty", "write a value, or \"*\" for any")
		return m, false
	case strings.Contains(m.Value, "*"):
		p.refuse(at, fmt.Sprintf("%q has a star elsewhere than at its beginning or at its end", s), "write e.g. a* or *a")
		return m, false
	}
	if check != nil {
		if why, next := check(m); why != "" {
			p.refuse(at, fmt.Sprintf("%q %s", s, why), next)
			return m, false
		}
	}
	return m, true
}

func checkPrincipal(m model.StringMatch) (why, next string) {
	const form = "write <trust domain>/ns/<namespace>/sa/<service account>"
	switch {
	case strings.HasPrefix(m.Value, "spiffe://"):
		return "has the scheme spiffe://, which principals are written without", "leave spiffe:// out"
	case strings.ContainsAny(m.Value, " \t\n"):
		return "has white space in it", form
	case m.Kind == model.Exact:
		if _, err := identity.Parse("spiffe://" + m.Value); err != nil {
			return "is not a principal", form
		}
	}
	return "", ""
}

func checkNamespace(m model.StringMatch) (why, next string) {
	if m.Kind == model.Exact && len(validation.IsDNS1123Label(m.Value)) > 0 || strings.ContainsAny(m.Value, "/ ") {
		return "is not a namespace", "use lower-case letters, digits and -"
	}
	return "", ""
}

// accounts reads service accounts: of the policy's namespace, or namespace/name.
func (p *authPolicy) accounts(path string, list []string) []model.ServiceAccountMatch {
	var out []model.ServiceAccountMatch
	for i, s := range list {
		ns, name, ok := strings.Cut(s, "/")
		if !ok {
			ns, name = p.object.Namespace, s
		}
		if len(validation.IsDNS1123Label(ns)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			p.refuse(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is not a service account", s), "write name or namespace/name; for patterns use principals")
			continue
		}
		out = append(out, model.ServiceAccountMatch{Namespace: ns, ServiceAccount: name})
	}
	return out
}

// blocks reads addresses and CIDRs.
func (p *authPolicy) blocks(path string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil && a.Zone() == "" {
				a = a.Unmap()
				prefix = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil || !prefix.IsValid() || prefix.Addr().Is4In6() {
			p.refuse(fmt.Sprintf("%s[%d]", path, i), fmt.Sprintf("%q is neither an address nor a CIDR", s), "write e.g. 10.1.0.0/16 or fd00::/64")
			continue
		}
		out = append(out, prefix.Masked())
	}
	return out
}
