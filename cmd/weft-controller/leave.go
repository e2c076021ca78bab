package main

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/translate"
)

// linger is how long a waypoint serves what has left it to those who are still connected: until each such
// connection has carried a request, whose answer ends it, or has been idle for so long that Envoy ended it.
const linger = translate.ClientIdle + 30*time.Second

// departed is a service and the waypoint, by host name, that it has left.
type departed struct{ service, waypoint string }

// departure is a service that a waypoint still serves: first as ever, until ztunnels know that it has left, then
// to whoever still has a connection, and with what was in force there when it left. Its policies, which concern
// nobody after that, have to stay for as long.
type departure struct {
	from     *model.Gateway
	until    time.Time // the end of this step, at the latest
	draining bool      // ztunnels know
	had      *holding
}

// holding is what a service had at the waypoint, by the keys of the snapshot.
type holding struct {
	routes      map[string]*model.Route
	policies    map[string]*model.L7Policy
	faults      map[string]*model.Fault
	attachments map[string]*model.Attachment
	bindings    map[string][]string // of the service and its workloads
	admission   *model.Policy       // by which workloads let the waypoint in; nil: none needs it
	admits      map[string]bool     // by Workload.UID, those that need it
}

// holdingOf takes what concerns a service out of a snapshot.
func holdingOf(s *model.Snapshot, service string, from *model.Gateway) *holding {
	h := &holding{
		routes: map[string]*model.Route{}, policies: map[string]*model.L7Policy{}, faults: map[string]*model.Fault{}, attachments: map[string]*model.Attachment{},
		bindings: map[string][]string{}, admits: map[string]bool{},
	}
	if w := s.Waypoints[waypointOfGateway(s, from)]; w != nil {
		h.admission = s.Policies[controller.AdmissionKey(w)]
	}
	h.bind(s, service)
	for uid, w := range s.Workloads.All() {
		if _, of := w.Services[service]; !of {
			continue
		}
		h.bind(s, uid)
		if h.admission != nil && slices.Contains(w.Policies, h.admission.Key()) {
			h.admits[uid] = true
		}
	}
	routes := map[string]bool{}
	for k, r := range s.Routes {
		if r.Service == service {
			h.routes[k] = r
			routes[r.Key()] = true
		}
	}
	for k, p := range s.L7Policies {
		if p.Service == service {
			h.policies[k] = p
		}
	}
	for k, f := range s.Faults {
		if f.Service == service || routes[f.Route] {
			h.faults[k] = f
		}
	}
	for k, a := range s.Attachments {
		if a.Target.Service == service || routes[a.Target.Route] {
			h.attachments[k] = a
		}
	}
	return h
}

// bind notes the policies of workloads that the waypoint judges by in their place.
func (h *holding) bind(s *model.Snapshot, key string) {
	list, ok := s.Bindings.Find(key)
	if !ok {
		return
	}
	h.bindings[key] = list
	for _, k := range list {
		h.policies[k] = s.L7Policies[k]
	}
}

// give adds what the service had, where s has nothing newer by the same name.
func (h *holding) give(s *model.Snapshot) {
	s.Routes, s.L7Policies, s.Faults = added(s.Routes, h.routes), added(s.L7Policies, h.policies), added(s.Faults, h.faults)
	s.Attachments, s.Bindings = added(s.Attachments, h.attachments), missing(s.Bindings, h.bindings)
}

// added is a and what only b has.
func added[V any](a, b map[string]V) map[string]V {
	out := maps.Clone(b)
	maps.Copy(out, a)
	return out
}

// missing is a table and what only b has.
func missing(t model.Table[[]string], b map[string][]string) model.Table[[]string] {
	lacks := map[string][]string{}
	for key, list := range b {
		if _, has := t.Find(key); !has {
			lacks[key] = list
		}
	}
	return t.With(lacks)
}

// depart notes that a service leaves a waypoint.
func (u *publisher) depart(service string, from *model.Gateway, now time.Time) {
	key := departed{service, from.Hostname}
	if u.leave[key] == nil {
		u.leave[key] = &departure{from: from, until: now.Add(u.wait), had: holdingOf(u.told, service, from)}
	}
}

// forget ends departures of services that are gone, or back, or whose waypoint is gone.
func (u *publisher) forget(s *model.Snapshot) {
	maps.DeleteFunc(u.leave, func(key departed, d *departure) bool {
		next := s.Services[key.service]
		return next == nil || sameGateway(d.from, next.Waypoint) || d.draining && waypointOfGateway(s, d.from) == ""
	})
}

// goOnLeaving reports whether a waypoint has to be told something.
func (u *publisher) goOnLeaving(now time.Time) bool {
	known, news := u.p.xds.ZtunnelsCurrent(), false
	for key, d := range u.leave {
		_, held := u.come[key.service]
		switch {
		case held:
		case !d.draining && (known || now.After(d.until)):
			d.draining, d.until, news = true, now.Add(u.linger), true
		case d.draining && now.After(d.until):
			delete(u.leave, key)
			news = true
		}
	}
	if news {
		u.forget(u.want)
	}
	return news
}

// pace is how long nothing is to be done.
func (u *publisher) pace() time.Duration {
	if len(u.come) > 0 || u.leaving() {
		return 20 * time.Millisecond
	}
	return time.Second
}

// leaving reports whether ztunnels may still send to a waypoint what has left it.
func (u *publisher) leaving() bool {
	for _, d := range u.leave {
		if !d.draining {
			return true
		}
	}
	return false
}

// settle removes waypoints that are gone, unless something is still sent to one.
func (u *publisher) settle() {
	if !u.leaving() {
		u.p.forgetWaypoints(u.want)
	}
}

// forEnvoys is the snapshot for one waypoint: what leaves it is still bound to it.
func (u *publisher) forEnvoys(waypoint string) *model.Snapshot {
	leaving := map[string]*departure{}
	for key, d := range u.leave {
		if waypointOfGateway(u.want, d.from) == waypoint {
			leaving[key.service] = d
		}
	}
	if len(leaving) == 0 {
		return u.want
	}
	out := withServices(u.want, leaving, func(key string, v *model.Service) { v.Waypoint, v.Draining = leaving[key].from, leaving[key].draining })
	for _, d := range leaving {
		d.had.give(out)
	}
	return out
}

// admitting is the snapshot for ztunnels: the workloads of a service let the waypoint in that it has left, as
// long as that is called for it. Who ALLOW policies bind would refuse it else.
func (u *publisher) admitting(s *model.Snapshot) *model.Snapshot {
	if len(u.leave) == 0 {
		return s
	}
	out := *s
	out.Policies = maps.Clone(s.Policies)
	admitted := map[string]*model.Workload{}
	for _, d := range u.leave {
		for uid := range d.had.admits {
			w := cmp.Or(admitted[uid], s.Workloads.Get(uid))
			if w == nil || slices.Contains(w.Policies, d.had.admission.Key()) {
				continue
			}
			c := *w
			c.Policies = append(slices.Clone(w.Policies), d.had.admission.Key())
			slices.Sort(c.Policies)
			admitted[uid], out.Policies[d.had.admission.Key()] = &c, d.had.admission
		}
	}
	out.Workloads = s.Workloads.With(admitted)
	return &out
}
