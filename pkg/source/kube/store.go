package kube

import (
	"cmp"
	"context"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/weftmesh/weft/pkg/source"
)

// store keeps the objects of one kind as a cache.Reflector hears of them.
type store struct {
	kind string
	// optional: nothing waits for it.
	optional bool
	lists    *cache.ListWatch
	// trim makes an object small; of an object that is so already it changes nothing.
	trim func(metav1.Object) metav1.Object
	// decode makes the object that is handed out of what trim left; nil: that itself.
	decode  func(at string, o metav1.Object) source.Reading
	changed func()
	log     *zap.Logger

	mu     sync.Mutex // protects what follows
	all    map[string]entry
	ready  bool
	filled *filled                // nil before the first fill
	stale  map[string]source.Edit // what has changed since, by key; nil: anything
}

// filled is what fill last added.
type filled struct {
	objects  source.Objects
	problems []source.Problem
}

// entry is one object.
type entry struct {
	raw      metav1.Object // as trim left it
	object   metav1.Object // handed out; nil where nothing can be
	unread   *source.Unread
	problems []source.Problem
	uid      types.UID
	origin   source.Origin
}

// run reads until ctx ends.
func (s *store) run(ctx context.Context) {
	// The reflector's own words go nowhere: what goes wrong is told by told, with what to do.
	ctx = klog.NewContext(ctx, logr.Discard())
	quiet := klog.FromContext(ctx)
	cache.NewReflectorWithOptions(s.lists, nil, s, cache.ReflectorOptions{
		Name: s.kind, TypeDescription: s.kind, Logger: &quiet,
		// Back within seconds when the server is, not all at the same moment.
		Backoff: &wait.Backoff{Duration: 250 * time.Millisecond, Cap: 5 * time.Second, Steps: 10, Factor: 2, Jitter: 0.5},
	}).RunWithContext(ctx)
}

// Transformer lets the reflector drop what is not needed while it still lists.
func (s *store) Transformer() cache.TransformFunc {
	return func(o any) (any, error) {
		if m, ok := o.(metav1.Object); ok {
			return s.trim(m), nil
		}
		return o, nil
	}
}

// Add, Update, Delete, Replace and Resync are cache.ReflectorStore.
func (s *store) Add(o any) error { return s.Update(o) }

// Update puts one object.
func (s *store) Update(o any) error {
	m, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key, raw := keyOf(m), s.trim(m)
	if before, known := s.all[key]; known && reflect.DeepEqual(before.raw, raw) {
		return nil
	}
	e := s.made(raw, s.all[key])
	s.all[key] = e
	s.edit(key, source.Edit{Namespace: raw.GetNamespace(), Name: raw.GetName(), Object: e.object, Origin: e.origin})
	s.touched()
	return nil
}

// Delete removes one object.
func (s *store) Delete(o any) error {
	m, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, keyOf(m))
	s.edit(keyOf(m), source.Edit{Namespace: m.GetNamespace(), Name: m.GetName()})
	s.touched()
	return nil
}

// Replace puts all objects.
func (s *store) Replace(list []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := make(map[string]entry, len(list))
	for _, o := range list {
		m, err := meta.Accessor(o)
		if err != nil {
			return err
		}
		key, raw := keyOf(m), s.trim(m)
		if before, known := s.all[key]; known && reflect.DeepEqual(before.raw, raw) {
			next[key] = before
			continue
		}
		next[key] = s.made(raw, s.all[key])
	}
	s.all, s.ready, s.stale = next, true, nil
	s.touched()
	return nil
}

// Resync does nothing: nothing is forgotten here.
func (s *store) Resync() error { return nil }

// manyEdits is from how many edits on a list is made anew.
const manyEdits = 1000

// edit notes a change for fill. Call with mu held.
func (s *store) edit(key string, e source.Edit) {
	if s.stale == nil {
		return
	}
	if s.stale[key] = e; s.decode != nil || len(s.stale) > manyEdits {
		s.stale = nil
	}
}

// touched tells of a change. Call with mu held.
func (s *store) touched() {
	if s.ready {
		s.changed()
	}
}

// made decodes an object. One that cannot be used leaves the version before it in force.
func (s *store) made(raw metav1.Object, before entry) entry {
	at := s.kind + "/" + keyOf(raw)
	e := entry{raw: raw, object: raw, uid: raw.GetUID(), origin: source.Origin{File: at}}
	if s.decode == nil {
		return e
	}
	r := s.decode(at, raw)
	e.object, e.unread, e.problems = r.Object, r.Unread, r.Problems
	if e.object == nil && before.object != nil && before.uid == e.uid {
		e.object, e.unread = before.object, nil
		for i := range e.problems {
			e.problems[i].LastGood = true
		}
	}
	for _, p := range e.problems {
		s.log.Debug("object of the cluster not understood: " + p.String())
	}
	return e
}

// read reports whether everything has been read once.
func (s *store) read() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

// fill adds all objects, sorted by namespace and name. As long as none changes it adds the same list, and after a few
// edits a copy with these.
func (s *store) fill(out *source.Objects) []source.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.filled == nil || s.stale == nil:
		s.filled = s.whole()
	case len(s.stale) > 0:
		next := *s.filled
		next.objects.Patch(s.kind, slices.Collect(maps.Values(s.stale)))
		s.filled = &next
	}
	s.stale = map[string]source.Edit{}
	out.Take(&s.filled.objects)
	return s.filled.problems
}

// whole is everything. Call with mu held.
func (s *store) whole() *filled {
	out := &filled{}
	for _, e := range slices.SortedFunc(maps.Values(s.all), func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.raw.GetNamespace(), b.raw.GetNamespace()), cmp.Compare(a.raw.GetName(), b.raw.GetName()))
	}) {
		if e.object != nil {
			out.objects.Add(e.object, e.origin)
		} else if e.unread != nil {
			out.objects.Unread = append(out.objects.Unread, *e.unread)
		}
		out.problems = append(out.problems, e.problems...)
	}
	return out
}

// keyOf is namespace/name, or the name alone.
func keyOf(o metav1.Object) string {
	if ns := o.GetNamespace(); ns != "" {
		return ns + "/" + o.GetName()
	}
	return o.GetName()
}
