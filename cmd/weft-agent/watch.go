package main

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
)

// reader is a source: a folder or a cluster.
type reader interface {
	Run(ctx context.Context, changed func(*source.Objects, []source.Problem)) error
}

// watcher turns what a source says into decisions, and knows what it said last.
type watcher struct {
	node     string
	direct   bool                   // pods may talk directly where their namespaces do not say
	handOver func(*corev1.Pod) bool // for which pods that may be past the node's firewall; nil: none
	source   reader
	r        *enroll.Reconciler
	before   []func(*source.Objects) // told of each state before it is decided on
	log      *zap.Logger
	problems atomic.Int64
	known    chan struct{} // closed when the first state has been decided on
	leaving  atomic.Bool   // no pod is the mesh's any more

	deciding sync.Mutex    // one decision after the other; protects last
	last     *enroll.State // nil: none yet

	mu      sync.Mutex // protects what follows
	objects *source.Objects
	next    chan struct{} // closed when objects changes
}

func newWatcher(node string, s reader, log *zap.Logger) *watcher {
	return &watcher{node: node, source: s, log: log, known: make(chan struct{}), objects: &source.Objects{}, next: make(chan struct{})}
}

func (w *watcher) run(ctx context.Context) error {
	first := true
	return w.source.Run(ctx, func(o *source.Objects, problems []source.Problem) {
		w.problems.Store(int64(len(problems)))
		w.deciding.Lock()
		defer w.deciding.Unlock()
		s := stateOf(o, problems)
		if !s.Complete {
			w.log.Warn("some manifests cannot be read; pods that are enrolled and not found stay so", zap.Int("problems", len(problems)))
		}
		w.show(o)
		for _, f := range w.before {
			f(o)
		}
		w.last = &s
		w.r.Set(w.decide(s), s.Complete || w.leaving.Load())
		if first {
			first = false
			close(w.known)
		}
	})
}

// again decides anew on what was read last, since something else has changed.
func (w *watcher) again() {
	w.deciding.Lock()
	defer w.deciding.Unlock()
	if w.last != nil {
		w.r.Set(w.decide(*w.last), w.last.Complete || w.leaving.Load())
	}
}

func (w *watcher) show(o *source.Objects) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.objects = o
	close(w.next)
	w.next = make(chan struct{})
}

// seen is what was read last, and when to look again.
func (w *watcher) seen() (*source.Objects, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.objects, w.next
}

// find knows the pods of the node, for enroll.KubeStatus.
func (w *watcher) find(uid string) (p enroll.Pod, announced, ok bool) {
	o, _ := w.seen()
	for _, x := range o.Pods {
		if string(x.Value.UID) == uid {
			return enroll.Pod{UID: uid, Namespace: x.Value.Namespace, Name: x.Value.Name},
				x.Value.Annotations[api.AnnotationRedirection] == api.RedirectionEnabled, true
		}
	}
	return p, false, false
}

func namespaceOf(o *source.Objects, name string) *corev1.Namespace {
	for _, n := range o.Namespaces {
		if n.Value.Name == name {
			return n.Value
		}
	}
	return nil
}

func stateOf(o *source.Objects, problems []source.Problem) enroll.State {
	s := enroll.State{Complete: !slices.ContainsFunc(problems, hidesPods)}
	for _, n := range o.Namespaces {
		s.Namespaces = append(s.Namespaces, n.Value)
	}
	for _, p := range o.Pods {
		s.Pods = append(s.Pods, p.Value)
	}
	return s
}

// hidesPods tells whether a pod may be missing because of a problem: one of its own, or one of a file of
// which not even the kinds can be read, without a last good version.
func hidesPods(p source.Problem) bool {
	return p.Severity == source.Error && !p.LastGood && (p.Kind == "" || p.Kind == "Pod")
}
