package wire

import (
	"fmt"
	"net/netip"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/structpb"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"

	"github.com/weftmesh/weft/pkg/model"
)

// DecodePolicy reads a policy. What it asks beyond what this program understands (an action, scope or
// kind of match that is newer) makes it Unsupported, so that it fails closed. Errors wrap ErrUnreadable.
func DecodePolicy(in *security.Authorization) (*model.Policy, error) {
	if in.GetName() == "" {
		return nil, unreadable("a policy without name")
	}
	p := &model.Policy{Name: in.GetName(), Namespace: intern(in.GetNamespace()), DryRun: in.GetDryRun()}
	p.Unsupported = decodeReason(in.GetExtensions())
	switch in.GetScope() {
	case security.Scope_GLOBAL:
		p.Scope = model.ScopeMesh
	case security.Scope_NAMESPACE:
		if p.Scope = model.ScopeNamespace; p.Namespace == "" {
			return nil, unreadable("policy %s is for a namespace and names none", p.Name)
		}
	case security.Scope_WORKLOAD_SELECTOR:
		p.Scope = model.ScopeSelector
	default:
		p.Scope, p.Unsupported = model.ScopeNamespace, fmt.Sprintf("scope %v is not known", in.GetScope())
	}
	switch in.GetAction() {
	case security.Action_ALLOW:
	case security.Action_DENY:
		p.Action = model.Deny
	default:
		p.Action, p.Unsupported = model.Deny, fmt.Sprintf("action %v is not known", in.GetAction())
	}
	if unknown(in.ProtoReflect()) {
		p.Unsupported = "it has fields that are newer than this program"
	}
	if p.Unsupported != "" {
		return p, nil
	}
	if err := decodeRules(p, in); err != nil {
		return nil, err
	}
	if p.Unsupported != "" {
		p.Rules = nil
	}
	return p, nil
}

func decodeRules(p *model.Policy, in *security.Authorization) error {
	for _, g := range in.GetGroups() {
		var r model.Rule
		for _, rules := range g.GetRules() {
			var c model.Clause
			for _, m := range rules.GetMatches() {
				match, unsupported, err := decodeMatch(m)
				if err != nil {
					return err
				}
				if unsupported != "" {
					p.Unsupported = unsupported
				}
				c.Matches = append(c.Matches, match)
			}
			r.Clauses = append(r.Clauses, c)
		}
		p.Rules = append(p.Rules, r)
	}
	return nil
}

func decodeReason(exts []*workloadapi.Extension) string {
	for _, e := range exts {
		if e.GetName() != extUnsupported {
			continue
		}
		s := &structpb.Struct{}
		if err := e.GetConfig().UnmarshalTo(s); err != nil || s.GetFields()["reason"].GetStringValue() == "" {
			return "the controller gave no reason"
		}
		return s.GetFields()["reason"].GetStringValue()
	}
	return ""
}

// decodeMatch reads one match; unsupported says what in it is newer than this program.
func decodeMatch(in *security.Match) (m model.Match, unsupported string, err error) {
	if len(in.GetExtensions()) > 0 {
		unsupported = fmt.Sprintf("a match has the extension %q", in.GetExtensions()[0].GetName())
	}
	strings := func(to *[]model.StringMatch, from []*security.StringMatch) {
		for _, s := range from {
			sm, ok := decodeString(s)
			if !ok {
				unsupported = "a kind of string match is not known"
			}
			*to = append(*to, sm)
		}
	}
	strings(&m.Namespaces, in.GetNamespaces())
	strings(&m.NotNamespaces, in.GetNotNamespaces())
	strings(&m.Principals, in.GetPrincipals())
	strings(&m.NotPrincipals, in.GetNotPrincipals())
	m.ServiceAccounts, m.NotServiceAccounts = decodeAccounts(in.GetServiceAccounts()), decodeAccounts(in.GetNotServiceAccounts())
	for _, f := range []struct {
		to   *[]netip.Prefix
		from []*security.Address
	}{
		{&m.SourceIPs, in.GetSourceIps()}, {&m.NotSourceIPs, in.GetNotSourceIps()},
		{&m.DestinationIPs, in.GetDestinationIps()}, {&m.NotDestinationIPs, in.GetNotDestinationIps()},
	} {
		if *f.to, err = decodePrefixes(f.from); err != nil {
			return m, "", err
		}
	}
	if m.Ports, err = decodePortList(in.GetDestinationPorts()); err != nil {
		return m, "", err
	}
	m.NotPorts, err = decodePortList(in.GetNotDestinationPorts())
	return m, unsupported, err
}

func decodeString(s *security.StringMatch) (model.StringMatch, bool) {
	switch t := s.GetMatchType().(type) {
	case *security.StringMatch_Exact:
		return model.StringMatch{Kind: model.Exact, Value: t.Exact}, true
	case *security.StringMatch_Prefix:
		return model.StringMatch{Kind: model.Prefix, Value: t.Prefix}, true
	case *security.StringMatch_Suffix:
		return model.StringMatch{Kind: model.Suffix, Value: t.Suffix}, true
	case *security.StringMatch_Presence:
		return model.StringMatch{Kind: model.Presence}, true
	}
	return model.StringMatch{}, false
}

func decodeAccounts(in []*security.ServiceAccountMatch) []model.ServiceAccountMatch {
	var out []model.ServiceAccountMatch
	for _, m := range in {
		out = append(out, model.ServiceAccountMatch{Namespace: m.GetNamespace(), ServiceAccount: m.GetServiceAccount()})
	}
	return out
}

func decodePrefixes(in []*security.Address) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, a := range in {
		addr, ok := netip.AddrFromSlice(a.GetAddress())
		if !ok || int64(a.GetLength()) > int64(addr.BitLen()) {
			return nil, unreadable("an address block of %d bytes with length %d", len(a.GetAddress()), a.GetLength())
		}
		out = append(out, netip.PrefixFrom(addr, int(a.GetLength())))
	}
	return out, nil
}

func decodePortList(in []uint32) ([]uint16, error) {
	var out []uint16
	for _, n := range in {
		p, err := decodePort(n)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// unknown reports whether a message, or one inside it, has fields that its generated code does not know.
func unknown(m protoreflect.Message) bool {
	if len(m.GetUnknown()) > 0 {
		return true
	}
	found := false
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() != protoreflect.MessageKind || fd.IsMap():
		case fd.IsList():
			l := v.List()
			for i := 0; i < l.Len() && !found; i++ {
				found = unknown(l.Get(i).Message())
			}
		default:
			found = unknown(v.Message())
		}
		return !found
	})
	return found
}

// DenyAll stands for a policy that could not be read and of which no earlier version is known.
func DenyAll(namespace, name string, err error) *model.Policy {
	return &model.Policy{
		Name: name, Namespace: namespace, Scope: model.ScopeNamespace, Action: model.Deny,
		Unsupported: err.Error(),
	}
}
