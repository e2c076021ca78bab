package controller

import (
	"maps"
	"reflect"
	"slices"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

// Incremental compiles objects again and again. Where nothing but pods differs from the time before, and nothing that
// concerns more than these pods, it compiles the pods into a copy of what there is: that costs what has changed,
// however large the mesh is. All else it compiles whole, as Compile does; the outcome is the same. The zero
// value is ready. It is for one caller at a time.
type Incremental struct {
	last *compiler // nil: the next is whole
}

// Compiled is what became of the objects.
type Compiled struct {
	// Snapshot is not to be changed, but for workloads that Changes names.
	Snapshot *model.Snapshot
	// Changes to the Snapshot before; nil where all is new.
	Changes *model.Changes
	// Restated reports that statuses are not those of the time before.
	Restated bool
}

// Compile compiles objects. Those of the time before must not have been changed.
func (k *Incremental) Compile(objs *source.Objects, cfg Config) Compiled {
	if out, done := k.podsOnly(objs, cfg.withDefaults()); done {
		return out
	}
	k.last = newCompiler(objs, cfg)
	k.last.compile()
	k.last.finish()
	return Compiled{Snapshot: k.last.snap, Restated: true}
}

// Statuses are those of all objects that were compiled last.
func (k *Incremental) Statuses() []Status {
	if k.last == nil {
		return nil
	}
	return k.last.list()
}

// Forget makes the next compilation a whole one.
func (k *Incremental) Forget() { k.last = nil }

// podsOnly compiles the pods that differ; false where that does not do. Then the last compilation is not used again.
func (k *Incremental) podsOnly(objs *source.Objects, cfg Config) (Compiled, bool) {
	c := k.last
	if c == nil || !sameConfig(c.cfg, cfg) || !objs.SameSpecsButPods(c.objs) || !maps.Equal(objs.Announcements, c.objs.Announcements) {
		return Compiled{}, false
	}
	c.prepare()
	if !c.later.until.IsZero() && !cfg.Now.Before(c.later.until) {
		return Compiled{}, false
	}
	pods, ok := podsBetween(c.objs.Pods, objs.Pods)
	if !ok {
		return Compiled{}, false
	}
	c.objs, c.cfg = objs, cfg
	b := newBatch(c)
	for _, p := range pods {
		if !b.change(p) {
			return Compiled{}, false
		}
	}
	return b.finish(), true
}

// sameConfig reports whether two say the same, but for the time.
func sameConfig(a, b Config) bool {
	return a.TrustDomain == b.TrustDomain && a.ClusterDomain == b.ClusterDomain && a.Cluster == b.Cluster && a.Network == b.Network &&
		a.Now.IsZero() == b.Now.IsZero() && slices.Equal(a.Ranges, b.Ranges) && maps.Equal(a.Keys, b.Keys) && reflect.DeepEqual(a.Modules, b.Modules)
}
