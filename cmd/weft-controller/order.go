package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/model"
)

// orderWait bounds how long one side is waited for: a proxy that hangs does not hold up the others.
const orderWait = 2 * time.Second

// publisher gives snapshots to Envoys and ztunnels in the order in which nobody sends to where it is not
// served: a service that comes to a waypoint is bound there for ztunnels once the waypoint's Envoys have it,
// and one that leaves is served there until ztunnels know. Everything else of a snapshot goes out at once.
// A waypoint of which no Envoy is connected is not waited for: what is bound to it is refused, not let past.
type publisher struct {
	p    *pipeline
	wait time.Duration
	next chan publication // at most one, the newest

	want  *model.Snapshot // all that follows belongs to run
	told  *model.Snapshot // what ztunnels were given last
	come  map[string]time.Time
	leave map[departed]*departure

	linger time.Duration
}

func newPublisher(p *pipeline) *publisher {
	return &publisher{p: p, wait: cmp.Or(p.c.orderWait, orderWait), next: make(chan publication, 1), told: model.NewSnapshot(), linger: cmp.Or(p.c.linger, linger), come: map[string]time.Time{}, leave: map[departed]*departure{}}
}

// publication is a snapshot to publish, and what differs from the one before; nil: anything may.
type publication struct {
	*model.Snapshot
	what *model.Changes
}

// set hands over the next snapshot; one that was not taken yet is passed over. For one caller at a time.
func (u *publisher) set(s *model.Snapshot, what *model.Changes) {
	select {
	case over := <-u.next:
		what = over.what.Join(what)
	default:
	}
	u.next <- publication{s, what}
}

func (u *publisher) run(ctx context.Context) {
	for {
		var again <-chan time.Time
		if len(u.come)+len(u.leave) > 0 {
			again = time.After(u.pace())
		}
		select {
		case <-ctx.Done():
			return
		case s := <-u.next:
			u.begin(s.Snapshot, s.what, time.Now())
		case <-again:
			u.goOn(time.Now())
		}
	}
}

// begin publishes a snapshot as far as that can be done at once.
func (u *publisher) begin(s *model.Snapshot, what *model.Changes, now time.Time) {
	if what.From(u.want) && u.told == u.want && len(u.come)+len(u.leave) == 0 {
		u.workloads(s, what)
		return
	}
	u.want = s
	come := map[string]time.Time{}
	for key, next := range s.Services {
		was := u.told.Services[key]
		if was == nil || sameGateway(was.Waypoint, next.Waypoint) {
			continue // nobody uses it yet, or it stays
		}
		if w := waypointOfGateway(s, next.Waypoint); w != "" && len(u.p.envoys(w)) > 0 {
			come[key] = earlier(u.come[key], now.Add(u.wait))
		}
		if was.Waypoint != nil {
			u.depart(key, was.Waypoint, now)
		}
	}
	u.come = come
	u.forget(s)
	u.p.configureWaypoints(s, u.forEnvoys)
	u.tell()
	u.settle()
}

// workloads publishes workloads that differ, where nothing else does and nobody is waited for.
func (u *publisher) workloads(s *model.Snapshot, what *model.Changes) {
	behind := func(w *model.Workload) bool { return w != nil && (len(w.Services) > 0 || w.Waypoint != nil) }
	concerns := func(uid string) bool { return behind(what.Since.Workloads.Get(uid)) || behind(s.Workloads.Get(uid)) }
	u.want, u.told = s, s
	if len(s.Waypoints) > 0 && slices.ContainsFunc(what.Workloads, concerns) {
		u.p.configureWaypoints(s, u.forEnvoys)
	}
	u.p.xds.Update(s, what)
}

// goOn takes the next step when its time has come.
func (u *publisher) goOn(now time.Time) {
	released := false
	for key, until := range u.come {
		w := waypointOfGateway(u.want, u.want.Services[key].Waypoint)
		late := now.After(until)
		if late {
			u.p.log.Warn("Envoy has not taken a service in time, ztunnels are told regardless", zap.String("service", key), zap.String("waypoint", w))
		}
		if late || u.served(w) {
			delete(u.come, key)
			released = true
		}
	}
	if released {
		u.tell()
		for _, d := range u.leave {
			if !d.draining {
				d.until = now.Add(u.wait)
			}
		}
		return
	}
	if u.goOnLeaving(now) {
		u.p.configureWaypoints(u.want, u.forEnvoys)
		u.settle()
	}
}

// served reports whether the Envoys of a waypoint have all that was published.
func (u *publisher) served(waypoint string) bool {
	iso := u.p.knownIsolator(waypoint)
	return iso == nil || iso.Sent() && u.p.xds.EnvoyCurrent(waypointNode(waypoint))
}

// tell publishes to ztunnels; services that are still coming to a waypoint stay bound as they were.
func (u *publisher) tell() {
	s := u.want
	if len(u.come) > 0 {
		s = withServices(u.want, u.come, func(key string, v *model.Service) { v.Waypoint = u.told.Services[key].Waypoint })
	}
	u.told = s
	u.p.xds.SetSnapshot(u.admitting(s))
}

// withServices copies a snapshot with some services changed.
func withServices[V any](s *model.Snapshot, keys map[string]V, change func(string, *model.Service)) *model.Snapshot {
	out := *s
	out.Services = maps.Clone(s.Services)
	for key := range keys {
		v := *s.Services[key]
		change(key, &v)
		out.Services[key] = &v
	}
	return &out
}

// waypointOfGateway is the key of the waypoint that a binding names, empty when there is none.
func waypointOfGateway(s *model.Snapshot, g *model.Gateway) string {
	if g == nil {
		return ""
	}
	for key, w := range s.Waypoints {
		if w.Hostname == g.Hostname && w.Namespace == g.Namespace {
			return key
		}
	}
	return ""
}

func sameGateway(a, b *model.Gateway) bool { return a == b || a != nil && b != nil && *a == *b }

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}
