package wire

import (
	"net/netip"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"

	"github.com/weftmesh/weft/pkg/model"
)

// extUnsupported is the extension of a policy that asks what L4 cannot evaluate: a
// google.protobuf.Struct with the reason.
const extUnsupported = "weft.v1.Unsupported"

// EncodePolicy makes the wire form of a policy; its resource name is Policy.Key(). A policy that L4
// cannot evaluate is sent so that any maker's ztunnel fails closed: an ALLOW without rules, which
// matches nothing, or a DENY with an empty rule, which matches everything.
func EncodePolicy(p *model.Policy) *security.Authorization {
	out := &security.Authorization{Name: p.Name, Namespace: p.Namespace, DryRun: p.DryRun}
	switch p.Scope {
	case model.ScopeMesh:
		out.Scope = security.Scope_GLOBAL
	case model.ScopeNamespace:
		out.Scope = security.Scope_NAMESPACE
	case model.ScopeSelector:
		out.Scope = security.Scope_WORKLOAD_SELECTOR
	}
	if p.Action == model.Deny {
		out.Action = security.Action_DENY
	}
	if p.Unsupported != "" {
		reason := &structpb.Struct{Fields: map[string]*structpb.Value{"reason": structpb.NewStringValue(p.Unsupported)}}
		out.Extensions = []*workloadapi.Extension{encodeExtension(extUnsupported, reason)}
		if p.Action == model.Deny {
			out.Groups = []*security.Group{{}}
		}
		return out
	}
	for _, r := range p.Rules {
		g := &security.Group{}
		for _, c := range r.Clauses {
			rules := &security.Rules{}
			for i := range c.Matches {
				rules.Matches = append(rules.Matches, encodeMatch(&c.Matches[i]))
			}
			g.Rules = append(g.Rules, rules)
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

func encodeMatch(m *model.Match) *security.Match {
	return &security.Match{
		Namespaces: encodeStrings(m.Namespaces), NotNamespaces: encodeStrings(m.NotNamespaces),
		ServiceAccounts: encodeAccounts(m.ServiceAccounts), NotServiceAccounts: encodeAccounts(m.NotServiceAccounts),
		Principals: encodeStrings(m.Principals), NotPrincipals: encodeStrings(m.NotPrincipals),
		SourceIps: encodePrefixes(m.SourceIPs), NotSourceIps: encodePrefixes(m.NotSourceIPs),
		DestinationIps: encodePrefixes(m.DestinationIPs), NotDestinationIps: encodePrefixes(m.NotDestinationIPs),
		DestinationPorts: encodePortList(m.Ports), NotDestinationPorts: encodePortList(m.NotPorts),
	}
}

func encodeStrings(in []model.StringMatch) []*security.StringMatch {
	var out []*security.StringMatch
	for _, m := range in {
		w := &security.StringMatch{}
		switch m.Kind {
		case model.Exact:
			w.MatchType = &security.StringMatch_Exact{Exact: m.Value}
		case model.Prefix:
			w.MatchType = &security.StringMatch_Prefix{Prefix: m.Value}
		case model.Suffix:
			w.MatchType = &security.StringMatch_Suffix{Suffix: m.Value}
		case model.Presence:
			w.MatchType = &security.StringMatch_Presence{Presence: &emptypb.Empty{}}
		}
		out = append(out, w)
	}
	return out
}

func encodeAccounts(in []model.ServiceAccountMatch) []*security.ServiceAccountMatch {
	var out []*security.ServiceAccountMatch
	for _, m := range in {
		out = append(out, &security.ServiceAccountMatch{Namespace: m.Namespace, ServiceAccount: m.ServiceAccount})
	}
	return out
}

func encodePrefixes(in []netip.Prefix) []*security.Address {
	var out []*security.Address
	for _, p := range in {
		out = append(out, &security.Address{Address: p.Addr().AsSlice(), Length: uint32(p.Bits())})
	}
	return out
}

func encodePortList(in []uint16) []uint32 {
	var out []uint32
	for _, p := range in {
		out = append(out, uint32(p))
	}
	return out
}
