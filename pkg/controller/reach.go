package controller

import (
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

// reach is a service that routes of another lead to.
type reach struct {
	service string // namespace/name
	from    string // namespace of the route
}

// callers are the waypoints that call a workload: on each lies the workload's policy. Those for which it is
// true may also enter in the name of their callers; to the others the workload's ztunnel shows no favour.
type callers map[*model.Waypoint]bool

// trusted lists the waypoints that may enter, in the order of their keys.
func (c callers) trusted() []*model.Waypoint {
	var out []*model.Waypoint
	for w, ok := range c {
		if ok {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *model.Waypoint) int { return strings.Compare(a.Key(), b.Key()) })
	return out
}

// compileReach finds out which waypoints call which workloads. A workload trusts those that its namespace
// put before it: by a label of the service, the pod or the namespace, by a route of its own namespace, or by
// having the waypoint in it. A route of another namespace that a ReferenceGrant lets in may send requests;
// it does not make that namespace's waypoint a judge over this one's policy.
func (c *compiler) compileReach() {
	if len(c.snap.Waypoints) == 0 {
		return
	}
	for _, w := range c.snap.Workloads.All() {
		if !w.NativeTunnel {
			c.callees[w.Namespace] = append(c.callees[w.Namespace], w)
		}
	}
	for _, info := range c.services {
		c.offers[info.object.Namespace] = append(c.offers[info.object.Namespace], info)
	}
	for _, info := range c.served {
		w := info.use.waypoint
		info.called = true
		for _, p := range info.pods {
			c.call(p, w, true)
		}
		for _, r := range info.reach {
			other := c.services[r.service]
			if other == nil || other == info {
				continue
			}
			other.called = true
			ns := other.object.Namespace
			for _, p := range other.pods {
				c.call(p, w, r.from == ns || w.Namespace == ns)
			}
		}
	}
	for _, list := range c.pods.all {
		for _, p := range list {
			if p.waypoint != nil {
				c.call(p, p.waypoint, true)
			}
		}
	}
}

func (c *compiler) call(p *podInfo, w *model.Waypoint, trusted bool) {
	if p.workload.NativeTunnel {
		return
	}
	if c.callers[p.workload] == nil {
		c.callers[p.workload] = callers{}
	}
	c.callers[p.workload][w] = c.callers[p.workload][w] || trusted
}

// bind puts a policy on the workloads and services that it binds, for waypoints to find. All of them, not only
// those that are behind one: a service that leaves its waypoint is served there for a moment more.
func (p *authPolicy) bind(out *model.L7Policy, scope model.PolicyScope, pods []*podInfo) {
	if len(p.snap.Waypoints) == 0 {
		return
	}
	out.Workloads = true
	key := out.Key() + "@workloads"
	p.snap.L7Policies[key] = out
	p.later.bound.add(scope, p.object.Namespace, labelsOf(p.object.Spec.Selector), key)
	for _, w := range p.bound(scope, pods) {
		p.snap.Bindings.Set(w.UID, append(p.snap.Bindings.Get(w.UID), key))
	}
	for ns, list := range p.offers {
		if scope != model.ScopeMesh && ns != p.object.Namespace {
			continue
		}
		for _, info := range list {
			if p.bindsAll(scope, info) {
				p.snap.Bindings.Set(info.model.Key(), append(p.snap.Bindings.Get(info.model.Key()), key))
			}
		}
	}
}

// bound lists the workloads that the policy binds; by scope these are also endpoints that are no pods.
func (p *authPolicy) bound(scope model.PolicyScope, pods []*podInfo) []*model.Workload {
	switch scope {
	case model.ScopeMesh:
		return slices.Concat(slices.Collect(maps.Values(p.callees))...)
	case model.ScopeNamespace:
		return p.callees[p.object.Namespace]
	}
	var out []*model.Workload
	for _, pod := range pods {
		if !pod.workload.NativeTunnel {
			out = append(out, pod.workload)
		}
	}
	return out
}

// bindsAll reports whether the policy binds whatever workload the selector of a service in its scope takes.
func (p *authPolicy) bindsAll(scope model.PolicyScope, info *serviceInfo) bool {
	sel := info.object.Spec.Selector
	return scope != model.ScopeSelector || len(sel) > 0 && carries(sel, p.object.Spec.Selector.MatchLabels)
}

// finishBindings sorts them and lets equal ones share their list: most workloads have the same.
func (c *compiler) finishBindings() {
	same := map[string][]string{}
	for binding, keys := range c.snap.Bindings.All() {
		sortUnique(&keys)
		text := strings.Join(keys, " ")
		if same[text] == nil {
			same[text] = keys
		}
		c.snap.Bindings.Set(binding, same[text])
	}
}

func waypointIdentity(w *model.Waypoint) identity.Identity {
	return identity.Identity{TrustDomain: w.TrustDomain, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount}
}

// waypointsText lists the waypoints that call any of the pods.
func (c *compiler) waypointsText(pods []*podInfo, trusted bool) string {
	names := map[string]bool{}
	for _, p := range pods {
		for w, t := range c.callers[p.workload] {
			if t == trusted {
				names[w.Key()] = true
			}
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}
