package translate

import (
	"fmt"
	"maps"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// Policies that bind the workloads behind a target are enforced here, with the original caller, since the
// workloads only see the waypoint. They stand beside those of the service and of the waypoint: a request
// has to pass each layer. Envoy has one ALLOW filter, whose policies are alternatives; so of a layer with
// ALLOW policies the opposite goes into the DENY filter: refused is what none of their rules matches.

// layers of what calls to a target reach, its routes aside.
func (b *builder) layers(t *target) []policy.Layer {
	if t.workload == nil {
		return b.serviceLayers(t.serviceKey(), t.port)
	}
	if l, ok := policy.WorkloadLayer(b.snap, t.workload.UID, t.port); ok {
		return []policy.Layer{l}
	}
	return nil
}

func (b *builder) serviceLayers(key string, port uint16) []policy.Layer {
	return policy.Layers(b.snap, key, port, b.workloads[key])
}

// asksOfLayers reports whether a policy asks about requests.
func asksOfLayers(layers []policy.Layer) bool {
	for _, l := range layers {
		for _, p := range l.Policies {
			for _, r := range p.Rules {
				if asksRequest(r, l.Port) {
					return true
				}
			}
		}
	}
	return false
}

// instead is what is enforced on the way to a backend, and to mirrors beside it, in the place of the
// target's own; nil where that is the same.
func (b *builder) instead(t *target, be *model.Backend, mirrors []model.Backend, at where) map[string]*anypb.Any {
	layers := b.serviceLayers(be.Service, be.Port)
	for i := range mirrors {
		layers = append(layers, b.serviceLayers(mirrors[i].Service, mirrors[i].Port)...)
	}
	config, owners := b.enforce(t, at, layers)
	if maps.EqualFunc(config, t.enforced, func(x, y *anypb.Any) bool { return proto.Equal(x, y) }) {
		return nil
	}
	t.owners = append(t.owners, owners...)
	if config == nil {
		config = map[string]*anypb.Any{}
	}
	for name := range t.enforced {
		if config[name] == nil {
			config[name] = pack(&rbacfilterv3.RBACPerRoute{}) // switches the target's off
		}
	}
	return config
}

// enforceLayer adds a layer's policies to the DENY filter.
func (b *builder) enforceLayer(deny *rbacSet, l policy.Layer, t *target, at where) []Source {
	var owners []Source
	allow, dry := &noneOf{}, &noneOf{}
	for _, p := range l.Policies {
		owners = append(owners, policySource(p))
		rules, err := b.layerRules(p, l.Port, t, at)
		switch {
		case err != nil && p.DryRun:
			b.problem(policySource(p), "not evaluated: %v", err)
		case err != nil:
			b.problem(policySource(p), "denies all, for it cannot be put in force: %v", err)
			deny.addUnlike(false, p.Key(), everything())
		case p.Action == model.Deny:
			for _, name := range sortedKeys(rules) {
				deny.addUnlike(p.DryRun, name, rules[name])
			}
		case p.DryRun:
			dry.add(p.Key(), rules)
		default:
			allow.add(p.Key(), rules)
		}
	}
	if len(allow.names) > 0 {
		deny.addUnlike(false, allow.name(), allow.policy())
	} else if len(dry.names) > 0 { // beside an enforced ALLOW policy one more could but allow more
		deny.addUnlike(true, dry.name(), dry.policy())
	}
	return owners
}

// layerRules compiles one policy of workloads that are called at a port.
func (b *builder) layerRules(p *model.L7Policy, port uint16, t *target, at where) (map[string]*rbacv3.Policy, error) {
	if why, bad := b.cfg.Refused[policySource(p)]; bad {
		return nil, fmt.Errorf("refused by Envoy: %s", why)
	}
	self := b.identity()
	out := map[string]*rbacv3.Policy{}
	for i, r := range p.Rules {
		c := ruleCompiler{at: at, deny: p.Action == model.Deny, port: port, anyPort: t.anyPort, self: &self}
		compiled, err := b.oneRule(&c, p, t, i, r)
		if err != nil {
			return nil, err
		}
		if compiled != nil {
			out[ruleName(p, i)] = compiled
		}
	}
	return out, nil
}

// addUnlike adds a policy under a name of its own: workloads called at different ports have different
// rules by the same name.
func (s *rbacSet) addUnlike(dryRun bool, name string, p *rbacv3.Policy) {
	set := s.enforced
	if dryRun {
		set = s.shadow
	}
	for n, unique := 1, name; ; n++ {
		had := set.GetPolicies()[unique]
		if had == nil {
			s.add(dryRun, map[string]*rbacv3.Policy{unique: p})
			return
		}
		if proto.Equal(had, p) {
			return
		}
		unique = fmt.Sprintf("%s~%d", name, n)
	}
}

// noneOf gathers ALLOW policies, to refuse what none of their rules matches.
type noneOf struct {
	names []string
	rules []*rbacv3.Principal
}

func (n *noneOf) add(key string, rules map[string]*rbacv3.Policy) {
	n.names = append(n.names, key)
	for _, name := range sortedKeys(rules) {
		if rule := asPrincipal(rules[name]); rule != nil { // else it matches nothing
			n.rules = append(n.rules, rule)
		}
	}
}

// name is what access logs show of a refusal.
func (n *noneOf) name() string { return strings.Join(n.names, ",") + "[none]" }

func (n *noneOf) policy() *rbacv3.Policy {
	if len(n.rules) == 0 {
		return everything()
	}
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{anyPermission()},
		Principals:  []*rbacv3.Principal{{Identifier: &rbacv3.Principal_NotId{NotId: orPrincipals(n.rules)}}},
	}
}

// asPrincipal says a whole rule as one condition: principals can look at requests, too. nil: it cannot.
func asPrincipal(p *rbacv3.Policy) *rbacv3.Principal {
	ops := permissionsAsPrincipals(p.Permissions)
	if ops == nil {
		return nil
	}
	return andPrincipals([]*rbacv3.Principal{orPrincipals(p.Principals), orPrincipals(ops)})
}

// permissionsAsPrincipals returns nil if one of them is of a kind that ruleCompiler does not make.
func permissionsAsPrincipals(in []*rbacv3.Permission) []*rbacv3.Principal {
	out := make([]*rbacv3.Principal, len(in))
	for i := range in {
		if out[i] = permissionAsPrincipal(in[i]); out[i] == nil {
			return nil
		}
	}
	return out
}

func permissionAsPrincipal(p *rbacv3.Permission) *rbacv3.Principal {
	switch r := p.Rule.(type) {
	case *rbacv3.Permission_Any:
		return anyPrincipal()
	case *rbacv3.Permission_Header:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_Header{Header: r.Header}}
	case *rbacv3.Permission_UrlPath:
		return &rbacv3.Principal{Identifier: &rbacv3.Principal_UrlPath{UrlPath: r.UrlPath}}
	case *rbacv3.Permission_AndRules:
		if ids := permissionsAsPrincipals(r.AndRules.Rules); ids != nil {
			return andPrincipals(ids)
		}
	case *rbacv3.Permission_OrRules:
		if ids := permissionsAsPrincipals(r.OrRules.Rules); ids != nil {
			return orPrincipals(ids)
		}
	case *rbacv3.Permission_NotRule:
		if id := permissionAsPrincipal(r.NotRule); id != nil {
			return &rbacv3.Principal{Identifier: &rbacv3.Principal_NotId{NotId: id}}
		}
	}
	return nil
}

func andPrincipals(ids []*rbacv3.Principal) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_AndIds{AndIds: &rbacv3.Principal_Set{Ids: ids}}}
}

func orPrincipals(ids []*rbacv3.Principal) *rbacv3.Principal {
	if len(ids) == 1 {
		return ids[0]
	}
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_OrIds{OrIds: &rbacv3.Principal_Set{Ids: ids}}}
}
