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

// l4Rules compiles rules for ztunnels.
type l4Rules struct{ *authPolicy }

// rules returns the rules that can be evaluated. The others are noted, and match nothing.
func (l l4Rules) rules() []model.Rule {
	var out []model.Rule
	for i, r := range l.object.Spec.Rules {
		path := fmt.Sprintf("spec.rules[%d]", i)
		before := len(l.bad)
		var rule model.Rule
		if len(r.From) > 0 {
			rule.Clauses = append(rule.Clauses, model.Clause{Matches: l.sources(path, r.From)})
		}
		if len(r.To) > 0 {
			var ops []model.Match
			for j, to := range r.To {
				ops = append(ops, l.operation(fmt.Sprintf("%s.to[%d].operation", path, j), to.Operation))
			}
			rule.Clauses = append(rule.Clauses, model.Clause{Matches: ops})
		}
		if len(l.bad) == before {
			out = append(out, rule)
		}
	}
	return out
}

// operation compiles what a ztunnel sees of what is called: the port.
func (l l4Rules) operation(path string, op api.Operation) model.Match {
	for _, f := range []struct {
		field string
		list  []string
	}{
		{"hosts", op.Hosts}, {"notHosts", op.NotHosts}, {"methods", op.Methods}, {"notMethods", op.NotMethods}, {"paths", op.Paths}, {"notPaths", op.NotPaths},
	} {
		field, list := f.field, f.list
		if len(list) > 0 {
			l.refuse(path+"."+field, field+" can be told only at a waypoint, and this policy is enforced by ztunnels",
				"use targetRefs with a Service that has a waypoint, or leave the field out")
		}
	}
	m := model.Match{Ports: l.ports(path+".ports", op.Ports), NotPorts: l.ports(path+".notPorts", op.NotPorts)}
	if isEmptyOperation(op) {
		l.refuse(path, "the operation is empty", "leave to out to mean every operation")
	}
	return m
}

func isEmptyOperation(op api.Operation) bool {
	return len(op.Ports)+len(op.NotPorts)+len(op.Hosts)+len(op.NotHosts)+len(op.Methods)+len(op.NotMethods)+len(op.Paths)+len(op.NotPaths) == 0
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
		if len(s.Principals)+len(s.NotPrincipals)+len(s.Namespaces)+len(s.NotNamespaces)+len(s.ServiceAccounts)+len(s.NotServiceAccounts)+len(s.IPBlocks)+len(s.NotIPBlocks) == 0 {
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
		at := fmt.Sprintf("%s[%d]", path, i)
		m := model.ParseStringMatch(s)
		switch {
		case s == "":
			p.refuse(at, "the value is empty", "write a value, or \"*\" for any")
			continue
		case strings.Contains(m.Value, "*"):
			p.refuse(at, fmt.Sprintf("%q has a star elsewhere than at its beginning or at its end", s), "write e.g. a* or *a")
			continue
		}
		if check != nil {
			if why, next := check(m); why != "" {
				p.refuse(at, fmt.Sprintf("%q %s", s, why), next)
				continue
			}
		}
		out = append(out, m)
	}
	return out
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
