package main

import (
	"context"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/enroll"
	"github.com/weftmesh/weft/pkg/source"
)

// watcher turns what a source says into decisions.
type watcher struct {
	node     string
	dir      *source.Dir
	r        *enroll.Reconciler
	log      *zap.Logger
	problems atomic.Int64
	known    chan struct{} // closed when the first state has been decided on
}

func (w *watcher) run(ctx context.Context) error {
	first := true
	return w.dir.Run(ctx, func(o *source.Objects, problems []source.Problem) {
		w.problems.Store(int64(len(problems)))
		s := stateOf(o, problems)
		if !s.Complete {
			w.log.Warn("some manifests cannot be read; pods that are enrolled and not found stay so", zap.Int("problems", len(problems)))
		}
		w.r.Set(enroll.Decide(w.node, s), s.Complete)
		if first {
			first = false
			close(w.known)
		}
	})
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
