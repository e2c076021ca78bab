package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/controller/cluster"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/isolate"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/verdict"
)

// words are what the Envoys of all waypoints say, those that are connected here and those of other replicas. The
// pipeline's mu protects it.
type words struct {
	found    map[string][]translate.Problem // by waypoint: what no Envoy had to say
	own      map[string]verdict.Word        // by waypoint
	others   map[string]theirs
	alive    map[string]bool // other replicas whose pods were there when that was looked at
	heard    map[string]bool // waypoints of which Envoys are connected here
	outcomes map[string]verdict.Outcome

	of      *model.Snapshot                        // what follows is of it
	patches map[string]map[translate.Source]string // by waypoint
}

// theirs is what another replica says, by waypoint.
type theirs struct {
	text  string
	words map[string]verdict.Word
}

func newWords() words {
	return words{found: map[string][]translate.Problem{}, own: map[string]verdict.Word{}, outcomes: map[string]verdict.Outcome{}}
}

func (w *words) forget(waypoint string) {
	delete(w.found, waypoint)
	delete(w.own, waypoint)
	delete(w.outcomes, waypoint)
}

// ofWaypoint is a waypoint's word as it was heard here.
func (w *words) ofWaypoint(key string) verdict.Word {
	out := w.own[key]
	out.Heard = out.Heard && w.heard[key]
	return out
}

// merge says what is wrong with objects, by waypoint. Of other replicas those count that are alive.
func (w *words) merge(s *model.Snapshot, alive func(replica string) bool) map[string][]translate.Problem {
	if w.of != s {
		w.of, w.patches = s, map[string]map[translate.Source]string{}
		for _, a := range s.Attachments {
			if a.Kind != translate.KindPatch {
				continue
			}
			for key := range s.Waypoints {
				w.patches[key] = isolate.Patches(s, key)
			}
			break
		}
	}
	out := map[string][]translate.Problem{}
	for key := range s.Waypoints {
		all := []verdict.Word{w.ofWaypoint(key)}
		for replica, o := range w.others {
			if said, ok := o.words[key]; ok && alive(replica) {
				all = append(all, said)
			}
		}
		w.outcomes[key] = verdict.Merge(all, verdict.Objects{
			Patches: w.patches[key],
			Version: func(src translate.Source) string { return isolate.Version(s, src) },
			Ready:   func() bool { return w.heard[key] || isolate.Ready(s, key) },
		}, w.outcomes[key])
		if ps := slices.Concat(w.found[key], w.outcomes[key].Problems); len(ps) > 0 {
			out[key] = ps
		}
	}
	return out
}

// entry is what the other replicas are told. Of a waypoint about which nobody has anything to say there is nothing.
func (w *words) entry() string {
	spoken := map[string]bool{}
	for _, o := range w.others {
		for key := range o.words {
			spoken[key] = true
		}
	}
	out := map[string]verdict.Word{}
	for key := range w.own {
		said := w.ofWaypoint(key)
		if len(said.Refused)+len(said.Accepted) > 0 || said.Heard && spoken[key] {
			out[key] = said
		}
	}
	return verdict.Encode(out)
}

const (
	followEvery = time.Second      // how often it is looked at who is connected, and which replicas there are
	pruneAfter  = 10 * time.Second // since a replica's pod is gone: that may be known late
)

// follow keeps what is known of Envoys' words up to date, here and in the record that all replicas share; nil: there is
// only this one.
func (p *pipeline) follow(ctx context.Context, record *cluster.Record) {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	gone := map[string]time.Time{}
	for {
		p.look(record)
		if record != nil {
			p.mu.Lock()
			said := p.words.entry()
			p.mu.Unlock()
			record.Say(said)
			p.prune(record, gone, time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-p.spoken:
		}
	}
}

// look takes in what has changed around the words: others', and who is there to say them.
func (p *pipeline) look(record *cluster.Record) {
	heard := map[string]bool{}
	for _, c := range p.xds.Clients() {
		if key, ok := waypointOf(c.NodeID); ok {
			heard[key] = true
		}
	}
	others, alive := map[string]theirs{}, map[string]bool{}
	if record != nil {
		for replica, text := range record.Others() {
			others[replica], alive[replica] = theirs{text: text}, p.hasReplica(replica)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.words
	same := maps.Equal(heard, w.heard) && maps.Equal(alive, w.alive)
	for replica, o := range others {
		if before, known := w.others[replica]; known && before.text == o.text {
			others[replica] = before
			continue
		}
		same = false
		var err error
		if o.words, err = verdict.Decode(o.text); err != nil {
			p.log.Warn("what another replica has heard of waypoints cannot be read: it may be of another release", zap.String("replica", replica), zap.Error(err))
		}
		others[replica] = o
	}
	if w.heard, w.others, w.alive = heard, others, alive; !same {
		p.report()
	}
}

// hasReplica reports whether the pod of another replica is there, as far as pods are known.
func (p *pipeline) hasReplica(name string) bool {
	objs := p.read.Load()
	if objs == nil {
		return false
	}
	pod := podOf(objs, api.SystemNamespace, name)
	return pod != nil && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed &&
		!slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue // of a node that is lost, too
		})
}

// prune takes out what replicas said that have not been there for a while.
func (p *pipeline) prune(record *cluster.Record, gone map[string]time.Time, now time.Time) {
	there := record.Others()
	maps.DeleteFunc(gone, func(replica string, _ time.Time) bool { _, ok := there[replica]; return !ok || p.hasReplica(replica) })
	if p.read.Load() == nil || !p.out.leads() {
		return
	}
	for replica := range there {
		since, known := gone[replica]
		switch {
		case p.hasReplica(replica):
		case !known:
			gone[replica] = now
		case now.Sub(since) > cmp.Or(p.c.prune, pruneAfter):
			record.Remove(replica)
			delete(gone, replica)
		}
	}
}

// hear wakes follow.
func (p *pipeline) hear() {
	select {
	case p.spoken <- struct{}{}:
	default:
	}
}
