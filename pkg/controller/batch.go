package controller

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

// batch compiles pods into a copy of the snapshot of a compilation that is through.
type batch struct {
	*compiler
	workloads, pending map[string]*model.Workload // by uid; nil where it is gone
	bindings           map[string][]string
	counts             []*counted // whose tally may differ
}

func newBatch(c *compiler) *batch {
	return &batch{compiler: c, workloads: map[string]*model.Workload{}, pending: map[string]*model.Workload{}, bindings: map[string][]string{}}
}

// change takes a pod's place. False: what follows from it is not about this pod alone.
func (b *batch) change(p podChange) bool {
	if asGateway(p.old) || asGateway(p.now) {
		return false // the waypoint's status and much else depends on it
	}
	if b.onlyReady(p) {
		return true
	}
	return (p.old == nil || b.remove(p.old)) && (ended(p.now) || b.add(p.now))
}

func asGateway(p *corev1.Pod) bool { return p != nil && p.Labels[api.LabelGatewayName] != "" }

// onlyReady takes the place of a pod that takes traffic now or does so no more, and is as it was otherwise: all that
// was found out about it holds.
func (b *batch) onlyReady(p podChange) bool {
	if ended(p.old) || ended(p.now) {
		return false
	}
	info := b.pods.byName[p.name()]
	if info == nil || info.object != p.old || !maps.Equal(p.old.Labels, p.now.Labels) ||
		!reflect.DeepEqual(p.old.Spec.Containers, p.now.Spec.Containers) || !reflect.DeepEqual(p.old.Spec.InitContainers, p.now.Spec.InitContainers) {
		return false
	}
	was, is := b.workload(p.old), b.workload(p.now)
	unhealthy := is.Unhealthy
	if is.Unhealthy = was.Unhealthy; !reflect.DeepEqual(was, is) {
		return false
	}
	next := &podInfo{object: p.now, workload: info.workload, waypoint: info.waypoint}
	b.pods.byName[p.name()] = next
	if unhealthy == was.Unhealthy {
		return true
	}
	w := *info.workload
	w.Unhealthy = unhealthy
	next.workload, b.workloads[w.UID] = &w, &w
	if by := b.callers[info.workload]; len(by) > 0 {
		delete(b.callers, info.workload)
		b.callers[&w] = by
	}
	return true
}

// remove takes a pod out.
func (b *batch) remove(p *corev1.Pod) bool {
	name := p.Namespace + "/" + p.Name
	uid := b.uid(p)
	if b.snap.Pending.Get(uid) != nil {
		b.pending[uid] = nil
	}
	info := b.pods.byName[name]
	if info == nil {
		return true // it was not in the snapshot
	}
	if info.object != p || !b.byItself(info) || len(b.callers[info.workload]) > 0 {
		return false
	}
	key, ok := b.peerPolicy(info)
	if !ok {
		return false
	}
	if key != "" {
		if b.later.listers[key]--; b.later.listers[key] == 0 {
			return false // the policy goes with it
		}
	}
	if b.later.pods[p.Namespace]--; b.later.pods[p.Namespace] == 0 && b.namespaces[p.Namespace] == nil {
		return false // the namespace is not known any more
	}
	b.count(info, (*tally).remove)
	b.workloads[uid] = nil
	delete(b.pods.byName, name)
	if _, bound := b.snap.Bindings.Find(uid); bound {
		b.bindings[uid] = nil
	}
	return true
}

// add puts a pod in, after remove where it was there.
func (b *batch) add(p *corev1.Pod) bool {
	w := b.workload(p)
	if len(w.Addresses) == 0 {
		if w.Node != "" {
			b.pending[w.UID] = w
		}
		return true
	}
	info := &podInfo{object: p, workload: w}
	if use := b.waypointUse(p.Labels, p.Namespace, "workload"); use != nil {
		w.Waypoint, info.waypoint = use.gateway, use.waypoint
	}
	if info.waypoint != nil || !b.byItself(info) {
		return false
	}
	for _, s := range b.later.services.of(p.Namespace, p.Labels) {
		if ports := podPorts(s.object, p); len(ports) > 0 {
			if w.Services == nil {
				w.Services = map[string][]model.Port{}
			}
			w.Services[s.model.Key()] = ports
		}
	}
	key, ok := b.peerPolicy(info)
	if !ok {
		return false
	}
	if key != "" {
		if b.snap.Policies[key] == nil {
			return false // the policy comes with it
		}
		b.later.listers[key]++
		w.Policies = append(w.Policies, key)
	}
	b.later.pods[p.Namespace]++
	w.Policies = append(w.Policies, b.later.listed.of(p.Namespace, p.Labels)...)
	sortUnique(&w.Policies)
	if keys := b.later.bound.of(p.Namespace, p.Labels); len(keys) > 0 {
		sortUnique(&keys)
		b.bindings[w.UID] = keys
	}
	b.count(info, (*tally).add)
	b.pods.byName[info.name()] = info
	b.workloads[w.UID] = w
	return true
}

// byItself reports whether nothing but its own workload, and counts, depend on a pod that comes or goes: no
// EndpointSlice names it, and its services have no waypoint and nothing that looks at which pods they have.
func (b *batch) byItself(p *podInfo) bool {
	if b.later.named[p.name()] || slices.ContainsFunc(p.workload.Addresses, func(a netip.Addr) bool { return b.later.at[a] }) {
		return false
	}
	for _, s := range b.later.services.of(p.object.Namespace, p.object.Labels) {
		if s.called || s.fixed {
			return false
		}
	}
	return true
}

// peerPolicy is the key of the policy that a pod lists for a PeerAuthentication, "" for none. False: a whole
// compilation says something about it.
func (b *batch) peerPolicy(p *podInfo) (key string, ok bool) {
	lists, known := b.later.peers[p.object.Namespace]
	if !known {
		return "", false
	}
	if s := peerSelector(p, lists.selected); s != nil {
		probe := *s
		probe.status = &Status{} // the real one is published
		if probe.over(lists.mode); len(probe.status.Problems) > 0 {
			return "", false
		}
		lists.selected = []*peerAuth{&probe}
	}
	from, mode := lists.of(p)
	if from == nil {
		return "", true
	}
	policy := peerPolicy(from, model.ScopeSelector, from.Value.Namespace, mode)
	if policy == nil {
		return "", true
	}
	return policy.Key(), true
}

// count tells the tallies that a pod belongs to.
func (b *batch) count(p *podInfo, by func(*tally, *podInfo)) {
	for _, n := range b.later.counts.of(p.object.Namespace, p.object.Labels) {
		by(n.tally, p)
		if !n.stale {
			n.stale = true
			b.counts = append(b.counts, n)
		}
	}
}

// finish is the outcome.
func (b *batch) finish() Compiled {
	out := Compiled{Changes: &model.Changes{Since: b.snap}}
	uids := map[string]bool{}
	next := *b.snap
	next.Workloads = replaced(next.Workloads, b.workloads, uids)
	next.Pending = replaced(next.Pending, b.pending, uids)
	set, gone := map[string][]string{}, []string{}
	for uid, keys := range b.bindings {
		if keys == nil {
			gone = append(gone, uid)
		} else {
			set[uid] = keys
		}
	}
	if len(b.bindings) > 0 {
		next.Bindings = next.Bindings.With(set, gone...)
	}
	for _, n := range b.counts {
		n.stale = false
		if f := n.figures(); f != n.before {
			n.before = f
			s := n.again()
			s.finish()
			b.statuses[s.Key()] = s
			out.Restated = true
		}
	}
	out.Changes.Workloads = slices.Sorted(maps.Keys(uids))
	if len(uids) > 0 {
		b.snap = &next
	}
	out.Snapshot = b.snap
	return out
}

// replaced is a table with some entries replaced, or gone where they are nil. Their names go to touched.
func replaced(t model.Table[*model.Workload], by map[string]*model.Workload, touched map[string]bool) model.Table[*model.Workload] {
	if len(by) == 0 {
		return t
	}
	set, gone := map[string]*model.Workload{}, []string{}
	for uid, w := range by {
		touched[uid] = true
		if w == nil {
			gone = append(gone, uid)
		} else {
			set[uid] = w
		}
	}
	return t.With(set, gone...)
}
