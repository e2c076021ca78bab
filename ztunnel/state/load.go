package state

import (
	"math/rand/v2"
	"sync"

	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/model"
)

// loads counts this ztunnel's living connections to each workload.
type loads struct {
	mu sync.Mutex // protects n
	n  map[string]int
}

// Carry counts a connection to w until the returned function is called, once.
func (s *State) Carry(w *model.Workload) (end func()) {
	s.loads.add(w.UID, 1)
	return func() { s.loads.add(w.UID, -1) }
}

func (l *loads) add(uid string, d int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n == nil {
		l.n = map[string]int{}
	}
	if l.n[uid] += d; l.n[uid] == 0 {
		delete(l.n, uid)
	}
}

// less reports that a carries fewer connections than b.
func (l *loads) less(a, b *model.Workload) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n[a.UID] < l.n[b.UID]
}

// Pick chooses an endpoint among the healthy and near ones: of two at random, the one with fewer
// connections of this node. That keeps long connections even where chance alone would not.
func (s *State) Pick(svc *model.Service, client *model.Workload, candidates []*model.Workload) *model.Workload {
	var first, of int
	a := index.Pick(svc, client, candidates, func(n int) int {
		first, of = rand.IntN(n), n
		return first
	})
	if of < 2 {
		return a
	}
	b := index.Pick(svc, client, candidates, func(n int) int { return (first + 1 + rand.IntN(n-1)) % n })
	if s.loads.less(b, a) {
		return b
	}
	return a
}
