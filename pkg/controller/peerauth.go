package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// peerMode is whether plaintext is accepted: at most ports, and at some otherwise.
type peerMode struct {
	strict bool
	ports  map[uint16]bool // strict or not, where it differs from strict
}

// peerAuth is a PeerAuthentication that counts at its scope.
type peerAuth struct {
	source.Object[api.PeerAuthentication]
	status *Status
	before Status // what it was before it said anything of pods
	pods   *tally
}

// compilePeerAuthentications makes DENY policies for callers without identity. The narrowest that applies
// to a workload wins. One policy for the mesh or for a namespace does where nothing within permits
// plaintext; else each workload lists its own.
func (c *compiler) compilePeerAuthentications() {
	var mesh *peerAuth
	byNamespace := map[string]*peerAuth{}
	selected := map[string][]*peerAuth{}
	for _, o := range byAge(c.peerAuthentications()) {
		p := &peerAuth{Object: o, status: c.status("PeerAuthentication", o.Value, o.Origin)}
		ns := o.Value.Namespace
		p.status.set(conditionAccepted, true, "Accepted", "the policy is understood")
		if o.Value.Spec.Selector != nil {
			selected[ns] = append(selected[ns], p)
			continue
		}
		if winner := byNamespace[ns]; winner != nil {
			p.shadowed(winner)
			continue
		}
		byNamespace[ns] = p
		if ns == api.SystemNamespace {
			mesh = p
		}
	}
	base := peerMode{}
	if mesh != nil {
		base = mesh.over(base)
	}
	wide := base.strict && len(base.ports) == 0 && !permits(byNamespace, selected)
	if wide {
		c.addPeerPolicy(mesh, model.ScopeMesh, mesh.Value.Namespace, base)
	}
	for _, ns := range c.namespacesWith(byNamespace) {
		mode, from := base, mesh
		if own := byNamespace[ns]; own != nil && own != mesh {
			mode = own.over(base)
			if from == nil || !own.unset() {
				from = own
			}
		}
		c.peerNamespace(ns, mode, from, selected[ns], wide)
	}
	for _, p := range byNamespace {
		p.enforced(c)
	}
	for _, list := range selected {
		for _, p := range list {
			p.enforced(c)
		}
	}
}

// namespacesWith lists all namespaces that are known of, so that the first pod of one meets its policy.
func (c *compiler) namespacesWith(byNamespace map[string]*peerAuth) []string {
	all := map[string]bool{}
	for ns := range c.pods.all {
		all[ns] = true
	}
	for ns := range c.namespaces {
		all[ns] = true
	}
	for ns := range byNamespace {
		all[ns] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// peerNamespace puts a namespace's mode in force, and those of its selected workloads.
func (c *compiler) peerNamespace(ns string, mode peerMode, from *peerAuth, selected []*peerAuth, wide bool) {
	if mode.strict && len(mode.ports) == 0 && !slices.ContainsFunc(selected, (*peerAuth).permissive) {
		c.later.peers[ns] = peerLists{strict: true}
		if !wide {
			c.addPeerPolicy(from, model.ScopeNamespace, ns, mode)
		}
		return // every workload is strict
	}
	lists := peerLists{mode: mode, from: from, selected: selected}
	c.later.peers[ns] = lists
	for _, p := range c.pods.all[ns] {
		if f, m := lists.of(p); f != nil {
			if key := c.addPeerPolicy(f, model.ScopeSelector, f.Value.Namespace, m); key != "" {
				c.later.listers[key]++
				p.workload.Policies = append(p.workload.Policies, key)
			}
		}
	}
}

// peerLists is what each workload of a namespace lists.
type peerLists struct {
	strict   bool // nothing: a wider policy makes all of them strict
	mode     peerMode
	from     *peerAuth // that says mode; nil none
	selected []*peerAuth
}

// of finds what counts for a pod; nil: nothing.
func (l peerLists) of(p *podInfo) (*peerAuth, peerMode) {
	if l.strict {
		return nil, peerMode{}
	}
	if s := peerSelector(p, l.selected); s != nil {
		return s, s.over(l.mode)
	}
	return l.from, l.mode
}

// peerSelector is the oldest PeerAuthentication whose selector takes a pod.
func peerSelector(p *podInfo, selected []*peerAuth) *peerAuth {
	for _, s := range selected {
		if carries(p.object.Labels, s.Value.Spec.Selector.MatchLabels) {
			return s
		}
	}
	return nil
}

// addPeerPolicy makes the policy of a mode and returns its key, "" for a mode that refuses nothing.
func (c *compiler) addPeerPolicy(from *peerAuth, scope model.PolicyScope, ns string, mode peerMode) string {
	p := peerPolicy(from, scope, ns, mode)
	if p == nil {
		return ""
	}
	c.snap.Policies[p.Key()] = p
	return p.Key()
}

func peerPolicy(from *peerAuth, scope model.PolicyScope, ns string, mode peerMode) *model.Policy {
	m := model.Match{NotPrincipals: []model.StringMatch{{Kind: model.Presence}}}
	var strict, open []uint16
	for port, s := range mode.ports {
		if s {
			strict = append(strict, port)
		} else {
			open = append(open, port)
		}
	}
	slices.Sort(strict)
	slices.Sort(open)
	switch {
	case mode.strict:
		m.NotPorts = open
	case len(strict) > 0:
		m.Ports = strict
	default:
		return nil
	}
	p := &model.Policy{
		// An underscore, so that no AuthorizationPolicy can have the name.
		Name: "peerauthentication_" + from.Value.Name, Namespace: ns, Scope: scope, Action: model.Deny,
		Rules: []model.Rule{{Clauses: []model.Clause{{Matches: []model.Match{m}}}}},
	}
	switch {
	case ns != from.Value.Namespace:
		p.Name += "_mesh"
	case scope == model.ScopeSelector && from.Value.Spec.Selector == nil:
		p.Name += "_listed"
	}
	return p
}

// over lays this object's modes over those of the wider scope.
func (p *peerAuth) over(wider peerMode) peerMode {
	out := peerMode{strict: wider.strict, ports: map[uint16]bool{}}
	switch p.Value.Spec.MTLS.Mode {
	case api.ModeStrict:
		out.strict = true
	case api.ModePermissive:
		out.strict = false
	case api.ModeUnset, "":
		for port, s := range wider.ports {
			out.ports[port] = s
		}
	default:
		p.status.set(conditionAccepted, false, "Invalid", "unknown mode %q is taken for STRICT", p.Value.Spec.MTLS.Mode)
		p.status.fail("spec.mtls.mode", fmt.Sprintf("unknown mode %q, taken for STRICT", p.Value.Spec.MTLS.Mode), "write STRICT or PERMISSIVE")
		out.strict = true
	}
	for text, m := range p.Value.Spec.PortLevelMTLS {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			p.status.set(conditionAccepted, false, "Invalid", "%q is not a port; the workloads accept no plaintext at all", text)
			p.status.fail("spec.portLevelMtls", fmt.Sprintf("%q is not a port; no plaintext is accepted at all", text), "write a number from 1 to 65535 in quotes")
			return peerMode{strict: true}
		}
		switch m.Mode {
		case api.ModeStrict:
			out.ports[uint16(port)] = true
		case api.ModePermissive:
			out.ports[uint16(port)] = false
		}
	}
	for port, s := range out.ports {
		if s == out.strict {
			delete(out.ports, port)
		}
	}
	return out
}

func (p *peerAuth) unset() bool {
	return (p.Value.Spec.MTLS.Mode == "" || p.Value.Spec.MTLS.Mode == api.ModeUnset) && len(p.Value.Spec.PortLevelMTLS) == 0
}

// permissive reports whether this object may permit plaintext where a wider one does not.
func (p *peerAuth) permissive() bool {
	if p.Value.Spec.MTLS.Mode == api.ModePermissive {
		return true
	}
	for _, m := range p.Value.Spec.PortLevelMTLS {
		if m.Mode == api.ModePermissive {
			return true
		}
	}
	return false
}

func permits(byNamespace map[string]*peerAuth, selected map[string][]*peerAuth) bool {
	for _, p := range byNamespace {
		if p.permissive() {
			return true
		}
	}
	for _, list := range selected {
		if slices.ContainsFunc(list, (*peerAuth).permissive) {
			return true
		}
	}
	return false
}

func (p *peerAuth) shadowed(by *peerAuth) {
	why := fmt.Sprintf("%s/%s is older (or comes first by name) and has the same scope", by.Value.Namespace, by.Value.Name)
	p.status.set(conditionEnforced, false, "Shadowed", "%s", why)
	p.status.warn("", "without effect: "+why, "join the two")
}

// enforced says in the status how many workloads the object's mode reaches.
func (p *peerAuth) enforced(c *compiler) {
	if p.status.Condition(conditionEnforced) != nil {
		return
	}
	var pods []*podInfo
	scope := model.ScopeNamespace
	switch sel := p.Value.Spec.Selector; {
	case sel != nil:
		scope = model.ScopeSelector
		pods = c.pods.matching(p.Value.Namespace, sel.MatchLabels)
	case p.Value.Namespace == api.SystemNamespace:
		scope = model.ScopeMesh
		pods = c.pods.everywhere()
	default:
		pods = c.pods.all[p.Value.Namespace]
	}
	p.before = p.status.clone()
	p.pods = c.counting(scope, p.Value.Namespace, p.Value.Spec.Selector, pods, func() *Status {
		fresh := p.before.clone()
		enforcement(&fresh, p.pods, p.Value.Spec.Selector)
		return &fresh
	})
	enforcement(p.status, p.pods, p.Value.Spec.Selector)
}

// byAge puts older objects first, then the order of names.
func byAge(list []source.Object[api.PeerAuthentication]) []source.Object[api.PeerAuthentication] {
	return slices.SortedStableFunc(slices.Values(list), func(a, b source.Object[api.PeerAuthentication]) int {
		return cmp.Or(a.Value.CreationTimestamp.Compare(b.Value.CreationTimestamp.Time),
			cmp.Compare(a.Value.Namespace+"/"+a.Value.Name, b.Value.Namespace+"/"+b.Value.Name))
	})
}
