package index

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
)

// watchers are called after a change, outside the lock, in no order among concurrent writers.
type watchers struct {
	workload []func(uid string, w *model.Workload)
	service  []func(key string, s *model.Service)
	policy   []func(key string, p *model.Policy)
}

// OnWorkload has f called after each change of a workload; w is nil when it was removed. Register before
// the index is shared.
func (x *Index) OnWorkload(f func(uid string, w *model.Workload)) {
	x.watch.workload = append(x.watch.workload, f)
}

// OnService is OnWorkload for services.
func (x *Index) OnService(f func(key string, s *model.Service)) {
	x.watch.service = append(x.watch.service, f)
}

// OnPolicy is OnWorkload for policies.
func (x *Index) OnPolicy(f func(key string, p *model.Policy)) {
	x.watch.policy = append(x.watch.policy, f)
}

func tell[T any](watchers []func(string, T), key string, v T) {
	for _, f := range watchers {
		f(key, v)
	}
}

// UpsertWorkload adds a workload or replaces the one with its UID.
func (x *Index) UpsertWorkload(w *model.Workload) {
	if x.putWorkload(w.UID, w) {
		tell(x.watch.workload, w.UID, w)
	}
}

// RemoveWorkload forgets a workload, and reports whether it was known.
func (x *Index) RemoveWorkload(uid string) bool {
	known := x.putWorkload(uid, nil)
	if known {
		tell(x.watch.workload, uid, nil)
	}
	return known
}

// putWorkload reports whether that changed anything.
func (x *Index) putWorkload(uid string, w *model.Workload) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.workloads[uid]
	if old == w {
		return false
	}
	x.generation.Add(1)
	x.replaceMember(old, w)
	if w == nil {
		delete(x.workloads, uid)
		for _, a := range old.Addresses {
			x.addresses.remove(plain(a), old)
		}
		return true
	}
	x.workloads[uid] = w
	var before []netip.Addr
	if old != nil {
		before = old.Addresses
	}
	x.addresses.replace(plainly(before), old, plainly(w.Addresses), w)
	return true
}

// plain is an address as it is looked up: IPv4 as such, and without the zone that a link-local address of a
// socket carries and that of a workload may not.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// plainly is the list itself where it already is plain, which is nearly always.
func plainly(as []netip.Addr) []netip.Addr {
	if !slices.ContainsFunc(as, func(a netip.Addr) bool { return a != plain(a) }) {
		return as
	}
	as = slices.Clone(as)
	for i := range as {
		as[i] = plain(as[i])
	}
	return as
}

// replaceMember puts w in the place of old in every service; either may be nil.
func (x *Index) replaceMember(old, w *model.Workload) {
	if old != nil {
		for key := range old.Services {
			var next *model.Workload
			if w != nil && has(w, key) {
				next = w
			}
			x.swapMember(key, old, next)
		}
	}
	if w == nil {
		return
	}
	for key := range w.Services {
		if old == nil || !has(old, key) {
			// Readers hold the shorter slice and never look behind its end.
			x.members[key] = append(x.members[key], w)
		}
	}
}

func has(w *model.Workload, service string) bool { _, ok := w.Services[service]; return ok }

// swapMember replaces or, with nil, removes a member in a copy, for readers hold the slice.
func (x *Index) swapMember(key string, old, next *model.Workload) {
	list := x.members[key]
	i := slices.Index(list, old)
	if i < 0 {
		return
	}
	if next != nil {
		list = slices.Clone(list)
		list[i] = next
		x.members[key] = list
		return
	}
	if len(list) == 1 {
		delete(x.members, key)
		return
	}
	x.members[key] = append(append(make([]*model.Workload, 0, len(list)-1), list[:i]...), list[i+1:]...)
}

// UpsertService adds a service or replaces the one with its key.
func (x *Index) UpsertService(s *model.Service) {
	if x.putService(s.Key(), s) {
		tell(x.watch.service, s.Key(), s)
	}
}

// RemoveService forgets a service, and reports whether it was known. Its endpoints stay workloads.
func (x *Index) RemoveService(key string) bool {
	known := x.putService(key, nil)
	if known {
		tell(x.watch.service, key, nil)
	}
	return known
}

func (x *Index) putService(key string, s *model.Service) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.services[key]
	if old == s {
		return false
	}
	x.generation.Add(1)
	if s == nil {
		delete(x.services, key)
		for _, a := range old.Addresses {
			x.vips.remove(plain(a), old)
		}
		x.hostnames.remove(canonical(old.Hostname), old)
		return true
	}
	x.services[key] = s
	var before []netip.Addr
	var names []string
	if old != nil {
		before, names = old.Addresses, []string{canonical(old.Hostname)}
	}
	x.vips.replace(plainly(before), old, plainly(s.Addresses), s)
	x.hostnames.replace(names, old, []string{canonical(s.Hostname)}, s)
	return true
}

// RemoveAddress forgets a workload by UID or a service by key, which share one space of names on the wire.
func (x *Index) RemoveAddress(key string) bool {
	if x.ByUID(key) != nil {
		return x.RemoveWorkload(key)
	}
	return x.RemoveService(key)
}
