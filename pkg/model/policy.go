package model

import "net/netip"

// PolicyScope says which workloads a policy binds.
type PolicyScope uint8

// Scopes of a policy. A selector policy binds the workloads that list it.
const (
	ScopeMesh PolicyScope = iota
	ScopeNamespace
	ScopeSelector
)

// Action of a policy whose rule matches.
type Action uint8

// Actions. A DENY that matches wins over every ALLOW.
const (
	Allow Action = iota
	Deny
)

// Policy is an L4 authorization policy as a ztunnel evaluates it (istio.security.Authorization on the wire).
//
// It matches when one of its Rules matches. A Rule matches when every Clause in it has one matching
// Match: from-clauses, to-clauses and conditions stand beside each other and all have to hold. A policy
// without rules matches nothing; a Rule without clauses matches everything.
type Policy struct {
	Name      string      `json:"name"`
	Namespace string      `json:"namespace"`
	Scope     PolicyScope `json:"scope"`
	Action    Action      `json:"action"`
	Rules     []Rule      `json:"rules,omitempty"`
	DryRun    bool        `json:"dryRun,omitempty"` // evaluate and report, do not enforce
	// Unsupported names what this policy asks that L4 cannot evaluate; such a policy fails closed:
	// an ALLOW never matches, a DENY always does.
	Unsupported string `json:"unsupported,omitempty"`
}

// Key identifies a policy: namespace/name.
func (p *Policy) Key() string { return p.Namespace + "/" + p.Name }

// Rule is a conjunction of clauses.
type Rule struct {
	Clauses []Clause `json:"clauses,omitempty"`
}

// Clause is a disjunction of matches. A clause without matches holds.
type Clause struct {
	Matches []Match `json:"matches,omitempty"`
}

// Match is a conjunction: each list that is not empty must hold. A positive list holds when one entry
// matches, a not-list when none does. A caller without an identity matches no name, namespace or service
// account, thus passes the not-lists of them.
type Match struct {
	Namespaces         []StringMatch         `json:"namespaces,omitempty"`
	NotNamespaces      []StringMatch         `json:"notNamespaces,omitempty"`
	ServiceAccounts    []ServiceAccountMatch `json:"serviceAccounts,omitempty"`
	NotServiceAccounts []ServiceAccountMatch `json:"notServiceAccounts,omitempty"`
	Principals         []StringMatch         `json:"principals,omitempty"` // without spiffe://
	NotPrincipals      []StringMatch         `json:"notPrincipals,omitempty"`
	SourceIPs          []netip.Prefix        `json:"sourceIPs,omitempty"`
	NotSourceIPs       []netip.Prefix        `json:"notSourceIPs,omitempty"`
	DestinationIPs     []netip.Prefix        `json:"destinationIPs,omitempty"`
	NotDestinationIPs  []netip.Prefix        `json:"notDestinationIPs,omitempty"`
	Ports              []uint16              `json:"ports,omitempty"` // of the workload, not of the service
	NotPorts           []uint16              `json:"notPorts,omitempty"`
	// Token of the end user. Only waypoints see it; of a ztunnel's policy it makes the whole unsupported.
	Token *TokenMatch `json:"token,omitempty"`
}

// ServiceAccountMatch names one service account.
type ServiceAccountMatch struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
}

// MatchKind says how a StringMatch compares.
type MatchKind uint8

// Kinds of string match.
const (
	Exact MatchKind = iota
	Prefix
	Suffix
	Presence // any non-empty value
	Template // a path with {name} for a segment and {**} for the rest; of paths only
)

// StringMatch compares one string.
type StringMatch struct {
	Kind  MatchKind `json:"kind"`
	Value string    `json:"value,omitempty"`
}

// ParseStringMatch reads the notation of policies: "*" presence, "*x" suffix, "x*" prefix, else exact.
func ParseStringMatch(s string) StringMatch {
	switch {
	case s == "*":
		return StringMatch{Kind: Presence}
	case len(s) > 1 && s[0] == '*':
		return StringMatch{Kind: Suffix, Value: s[1:]}
	case len(s) > 1 && s[len(s)-1] == '*':
		return StringMatch{Kind: Prefix, Value: s[:len(s)-1]}
	}
	return StringMatch{Kind: Exact, Value: s}
}

// String writes the notation that ParseStringMatch reads.
func (m StringMatch) String() string {
	switch m.Kind {
	case Presence:
		return "*"
	case Suffix:
		return "*" + m.Value
	case Prefix:
		return m.Value + "*"
	}
	return m.Value
}
