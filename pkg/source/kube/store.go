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
	sorted []entry // of all; nil after a change
	ready  bool
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
	s.all[key] = s.made(raw, s.all[key])
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
	s.all, s.ready = next, true
	s.touched()
	return nil
}

// Resync does nothing: nothing is forgotten here.
func (s *store) Resync() error { return nil }

// touched forgets the order and tells. Call with mu held.
func (s *store) touched() {
	s.sorted = nil
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

// fill adds all objects, sorted by namespace and name.
func (s *store) fill(out *source.Objects) []source.Problem {
	s.mu.Lock()
	if s.sorted == nil {
		s.sorted = slices.SortedFunc(maps.Values(s.all), func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.raw.GetNamespace(), b.raw.GetNamespace()), cmp.Compare(a.raw.GetName(), b.raw.GetName()))
		})
	}
	sorted := s.sorted
	s.mu.Unlock()
	var problems []source.Problem
	for _, e := range sorted {
		if e.object != nil {
			out.Add(e.object, e.origin)
		} else if e.unread != nil {
			out.Unread = append(out.Unread, *e.unread)
		}
		problems = append(problems, e.problems...)
	}
	return problems
}

// keyOf is namespace/name, or the name alone.
func keyOf(o metav1.Object) string {
	if ns := o.GetNamespace(); ns != "" {
		return ns + "/" + o.GetName()
	}
	return o.GetName()
}
