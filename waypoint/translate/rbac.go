package translate

import (
	"fmt"
	"slices"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// where a policy is enforced decides what it can see.
type where uint8

const (
	onRequest    where = iota // in http: the request, and the caller from filter state
	onConnection              // in hbone: the caller's certificate and address, no request
	onHello                   // in sni: the caller from filter state, no request
)

// Prefixes of the metadata that dry runs leave for the access log.
const (
	shadowDeny  = "weft_deny_"
	shadowAllow = "weft_allow_"
)

// policiesFor lists what binds a target: the waypoint's own policies and its service's.
func (b *builder) policiesFor(serviceKey string) []*model.L7Policy {
	if serviceKey == "" {
		return b.policies[""]
	}
	return slices.Concat(b.policies[""], b.policies[serviceKey])
}

// hasHTTPPolicy reports whether a policy asks about requests on a port.
func (b *builder) hasHTTPPolicy(serviceKey string, port uint16) bool {
	for _, p := range b.policiesFor(serviceKey) {
		for _, r := range p.Rules {
			if p.External != nil || asksRequest(r, port) {
				return true
			}
		}
	}
	return false
}

// enforce compiles a target's policies, and those of the workloads behind it, into the two RBAC filters:
// DENY first, then ALLOW. The result is what a virtual host's typed_per_filter_config holds; nil when
// nothing binds the target.
func (b *builder) enforce(t *target, at where, layers []policy.Layer) (map[string]*anypb.Any, []Source) {
	deny := &rbacSet{action: rbacv3.RBAC_DENY, prefix: shadowDeny}
	allow := &rbacSet{action: rbacv3.RBAC_ALLOW, prefix: shadowAllow}
	out := map[string]*anypb.Any{}
	var owners []Source
	for _, p := range b.policiesFor(t.serviceKey()) {
		owners = append(owners, policySource(p))
		rules, err := b.rules(p, t, at)
		switch {
		case err != nil && p.DryRun:
			b.problem(policySource(p), "not evaluated: %v", err)
			continue
		case err != nil:
			b.problem(policySource(p), "denies all, for it cannot be put in force: %v", err)
			deny.add(false, map[string]*rbacv3.Policy{p.Key(): everything()})
			continue
		}
		switch {
		case p.External != nil && at == onRequest && b.custom(out, p, rules):
		case p.Action == model.Deny:
			deny.add(p.DryRun, rules)
		default:
			allow.add(p.DryRun, rules)
		}
	}
	for _, name := range b.unverifiable(t, at) {
		deny.add(false, map[string]*rbacv3.Policy{kindAuthentication + "/" + name: everything()})
	}
	for _, l := range layers {
		owners = append(owners, b.enforceLayer(deny, l, t, at)...)
	}
	if at == onRequest && asksPaths(b.policiesFor(t.serviceKey()), layers) {
		deny.add(false, map[string]*rbacv3.Policy{"weft[ambiguous-path]": ambiguousPath()})
	}
	deny.put(out, filterDeny)
	allow.put(out, filterAllow)
	if len(out) == 0 {
		return nil, owners
	}
	return out, owners
}

// rbacSet gathers the policies of one action.
type rbacSet struct {
	action           rbacv3.RBAC_Action
	prefix           string
	enforced, shadow *rbacv3.RBAC
}

func (s *rbacSet) add(dryRun bool, rules map[string]*rbacv3.Policy) {
	set := &s.enforced
	if dryRun {
		set = &s.shadow
	}
	if *set == nil {
		*set = &rbacv3.RBAC{Action: s.action, Policies: map[string]*rbacv3.Policy{}}
	}
	for k, v := range rules {
		(*set).Policies[k] = v
	}
}

func (s *rbacSet) put(out map[string]*anypb.Any, filter string) {
	if s.enforced == nil && s.shadow == nil {
		return
	}
	out[filter] = pack(&rbacfilterv3.RBACPerRoute{Rbac: &rbacfilterv3.RBAC{
		Rules: s.enforced, ShadowRules: s.shadow, ShadowRulesStatPrefix: s.prefix,
	}})
}

// rules compiles one policy for one target, by names that access logs show: namespace/name[rule].
func (b *builder) rules(p *model.L7Policy, t *target, at where) (map[string]*rbacv3.Policy, error) {
	if why, bad := b.cfg.Refused[policySource(p)]; bad {
		return nil, fmt.Errorf("refused by Envoy: %s", why)
	}
	out := map[string]*rbacv3.Policy{}
	for i, r := range p.Rules {
		c := ruleCompiler{at: at, deny: p.Action == model.Deny, port: t.port, anyPort: t.anyPort}
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

// oneRule returns nil for a rule that can match nothing here.
func (b *builder) oneRule(c *ruleCompiler, p *model.L7Policy, t *target, i int, r model.L7Rule) (*rbacv3.Policy, error) {
	out := c.rule(r)
	if c.lost != "" {
		b.problem(policySource(p), "rule %d on %s: %s", i, t.name, c.lost)
	}
	if out == nil {
		return nil, nil
	}
	if err := out.ValidateAll(); err != nil {
		return nil, fmt.Errorf("rule %d: %w", i, err)
	}
	return out, nil
}

func ruleName(p *model.L7Policy, i int) string { return fmt.Sprintf("%s[%d]", p.Key(), i) }

func everything() *rbacv3.Policy {
	return &rbacv3.Policy{Permissions: []*rbacv3.Permission{anyPermission()}, Principals: []*rbacv3.Principal{anyPrincipal()}}
}

// ambiguousPath matches what policies by path cannot be sure of.
func ambiguousPath() *rbacv3.Policy {
	return &rbacv3.Policy{
		Permissions: []*rbacv3.Permission{urlPath(regexMatch(policy.Ambiguous))},
		Principals:  []*rbacv3.Principal{anyPrincipal()},
	}
}

// asksPaths reports whether a policy that is in force looks at paths.
func asksPaths(own []*model.L7Policy, layers []policy.Layer) bool {
	for _, l := range layers {
		own = append(own[:len(own):len(own)], l.Policies...)
	}
	for _, p := range own {
		for _, r := range p.Rules {
			if !p.DryRun && slices.ContainsFunc(r.To, func(op model.L7Operation) bool { return len(op.Paths)+len(op.NotPaths) > 0 }) {
				return true
			}
		}
	}
	return false
}

func anyPermission() *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Any{Any: true}}
}

func anyPrincipal() *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Any{Any: true}}
}
