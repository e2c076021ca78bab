package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// Set is the compiled policies of one workload. It is immutable; any number of goroutines may use it.
type Set struct {
	deny, allow       []compiled // enforced
	dryDeny, dryAllow []compiled
	principals        bool // some match looks at principals
	beyond            bool // some policy cannot be evaluated at L4, or is in dry run

	// Verdicts that no single rule gives, made once.
	open, shut, shutBare Verdict
}

// Compile makes the Set of these policies. Their order does not matter; they are not kept.
func Compile(policies []*model.Policy) *Set {
	sorted := slices.Clone(policies)
	sorted = slices.DeleteFunc(sorted, func(p *model.Policy) bool { return p == nil })
	slices.SortStableFunc(sorted, func(a, b *model.Policy) int { return cmp.Compare(a.Key(), b.Key()) })
	s := &Set{}
	for _, p := range sorted {
		c := compile(p)
		s.principals = s.principals || c.principals
		s.beyond = s.beyond || c.unsupported != "" || p.DryRun
		switch {
		case c.allow && p.DryRun:
			s.dryAllow = append(s.dryAllow, c)
		case c.allow:
			s.allow = append(s.allow, c)
		case p.DryRun:
			s.dryDeny = append(s.dryDeny, c)
		default:
			s.deny = append(s.deny, c)
		}
	}
	s.defaults()
	return s
}

// defaults makes the verdicts for connections that no rule matches.
func (s *Set) defaults() {
	s.open = Verdict{Allowed: true, Rule: NoRule, Reason: "no policy forbids it and no ALLOW policy binds the workload"}
	if len(s.allow) == 0 {
		return
	}
	s.shut.Rule, s.shutBare.Rule = NoRule, NoRule
	names, unsupported := make([]string, len(s.allow)), ""
	for i, p := range s.allow {
		names[i] = p.key
		if p.unsupported != "" {
			unsupported += "; " + p.key + " can never match here, for it asks for " + p.unsupported
		}
	}
	if len(names) == 1 {
		s.shut.Policy, s.shutBare.Policy = names[0], names[0]
	}
	why := "no rule of the ALLOW policies " + list(names) + " matches" + unsupported
	s.shut.Reason = why
	s.shutBare.Reason = why + "; the caller has no identity (it came as plain text, not by the mesh)"
}

// Plain reports that its verdicts are all there is to say of a connection: no policy asks for more than L4, and none
// is only tried out, of which each connection has to be told.
func (s *Set) Plain() bool { return s != nil && !s.beyond }

// list names a few policies; a reason has to stay readable.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return strings.Join(names[:most], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

// Decide gives the verdict on a connection. It does not allocate unless a policy in dry run would refuse.
func (s *Set) Decide(c Conn) Verdict {
	if s == nil {
		return Verdict{Rule: NoRule, Reason: "the policies of the workload are not known yet"}
	}
	var room [principalRoom]byte
	caller := newSubject(c, s.principals, room[:0])
	v := s.enforced(&caller)
	if len(s.dryDeny)+len(s.dryAllow) > 0 {
		v.DryRun = s.dryRun(&caller)
	}
	return v
}

func (s *Set) enforced(c *subject) Verdict {
	for i := range s.deny {
		if p := &s.deny[i]; p.unsupported != "" {
			return p.refusal
		} else if n := p.match(c); n != NoRule {
			return p.rules[n].verdict
		}
	}
	if len(s.allow) == 0 {
		return s.open
	}
	for i := range s.allow {
		if n := s.allow[i].match(c); n != NoRule {
			return s.allow[i].rules[n].verdict
		}
	}
	if c.anonymous {
		return s.shutBare
	}
	return s.shut
}

// dryRun names who would refuse if enforced. An ALLOW policy in dry run would do so only where no enforced
// one binds, for beside an enforced one it could but allow more.
func (s *Set) dryRun(c *subject) (names []string) {
	for i := range s.dryDeny {
		if p := &s.dryDeny[i]; p.unsupported != "" || p.match(c) != NoRule {
			names = append(names, p.key)
		}
	}
	if len(s.allow) > 0 {
		return names
	}
	for i := range s.dryAllow {
		if s.dryAllow[i].match(c) != NoRule {
			return names
		}
	}
	for i := range s.dryAllow {
		names = append(names, s.dryAllow[i].key)
	}
	return names
}
