package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
)

// compiled is one policy, made ready to be asked often.
type compiled struct {
	key         string
	allow       bool
	principals  bool   // some match looks at principals
	unsupported string // what it asks that cannot be evaluated
	refusal     Verdict
	rules       []rule
}

type rule struct {
	verdict Verdict
	clauses [][]match // every clause needs one match; clauses without matches are left out
}

// match mirrors model.Match.
type match struct {
	namespaces, notNamespaces         texts
	serviceAccounts                   accounts
	notServiceAccounts                accounts
	principals, notPrincipals         texts
	sourceIPs, notSourceIPs           networks
	destinationIPs, notDestinationIPs networks
	ports, notPorts                   []uint16
}

func compile(p *model.Policy) compiled {
	c := compiled{key: p.Key(), allow: p.Action == model.Allow, unsupported: p.Unsupported}
	if p.Action != model.Allow && p.Action != model.Deny {
		c.unsupported = fmt.Sprintf("action %d, which this version does not know", p.Action)
	}
	if c.unsupported == "" {
		c.unsupported = c.addRules(p)
	}
	if c.unsupported != "" {
		c.rules, c.principals = nil, false
		c.refusal = Verdict{Policy: c.key, Rule: NoRule, Reason: "DENY policy " + c.key + " asks for " + c.unsupported +
			", which cannot be evaluated here, so it denies everything; attach it to a waypoint or change it"}
	}
	return c
}

// addRules returns what is wrong with a rule, if anything is.
func (c *compiled) addRules(p *model.Policy) (unsupported string) {
	verb, action := "denied by", "DENY"
	if c.allow {
		verb, action = "allowed by", "ALLOW"
	}
	for i, r := range p.Rules {
		out := rule{verdict: Verdict{Allowed: c.allow, Policy: c.key, Rule: i,
			Reason: fmt.Sprintf("%s %s policy %s, rule %d", verb, action, c.key, i+1)}}
		for _, cl := range r.Clauses {
			if len(cl.Matches) == 0 {
				continue
			}
			ms := make([]match, len(cl.Matches))
			for j := range cl.Matches {
				var err error
				if ms[j], err = compileMatch(&cl.Matches[j]); err != nil {
					return fmt.Sprintf("%v (rule %d)", err, i+1)
				}
				c.principals = c.principals || ms[j].principals.some || ms[j].notPrincipals.some
			}
			out.clauses = append(out.clauses, ms)
		}
		c.rules = append(c.rules, out)
	}
	return ""
}

func compileMatch(m *model.Match) (out match, err error) {
	if m.Token != nil {
		return out, errors.New("tokens of end users")
	}
	for _, t := range []struct {
		to   *texts
		from []model.StringMatch
	}{
		{&out.namespaces, m.Namespaces}, {&out.notNamespaces, m.NotNamespaces},
		{&out.principals, m.Principals}, {&out.notPrincipals, m.NotPrincipals},
	} {
		if *t.to, err = compileTexts(t.from); err != nil {
			return out, err
		}
	}
	for _, n := range []struct {
		to   *networks
		from []netip.Prefix
	}{
		{&out.sourceIPs, m.SourceIPs}, {&out.notSourceIPs, m.NotSourceIPs},
		{&out.destinationIPs, m.DestinationIPs}, {&out.notDestinationIPs, m.NotDestinationIPs},
	} {
		if *n.to, err = compileNetworks(n.from); err != nil {
			return out, err
		}
	}
	out.serviceAccounts, out.notServiceAccounts = compileAccounts(m.ServiceAccounts), compileAccounts(m.NotServiceAccounts)
	out.ports, out.notPorts = slices.Clone(m.Ports), slices.Clone(m.NotPorts)
	return out, nil
}

// match returns the index of the first rule that matches, or NoRule.
func (c *compiled) match(s *subject) int {
	for i := range c.rules {
		if c.rules[i].match(s) {
			return i
		}
	}
	return NoRule
}

func (r *rule) match(s *subject) bool {
next:
	for _, clause := range r.clauses {
		for i := range clause {
			if clause[i].match(s) {
				continue next
			}
		}
		return false
	}
	return true
}

func (m *match) match(s *subject) bool {
	// Cheap ones first.
	if len(m.ports) > 0 && !slices.Contains(m.ports, s.port) || slices.Contains(m.notPorts, s.port) {
		return false
	}
	if m.namespaces.some && !s.in(&m.namespaces, s.namespace) || s.in(&m.notNamespaces, s.namespace) {
		return false
	}
	if m.serviceAccounts.some() && !s.runsAs(m.serviceAccounts) || s.runsAs(m.notServiceAccounts) {
		return false
	}
	if m.principals.some && !s.in(&m.principals, s.principal) || s.in(&m.notPrincipals, s.principal) {
		return false
	}
	if m.sourceIPs.some && !m.sourceIPs.contain(s.source) || m.notSourceIPs.contain(s.source) {
		return false
	}
	return (!m.destinationIPs.some || m.destinationIPs.contain(s.dest)) && !m.notDestinationIPs.contain(s.dest)
}
