package balance

import (
	"sync"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// youth is how long it is remembered when an endpoint came; no slow start takes longer.
const youth = 24 * time.Hour

// young is since when endpoints are there, or healthy again.
type young struct {
	now   func() time.Time
	mu    sync.Mutex // protects since
	since map[string]time.Time
	swept time.Time
}

// Came says that an endpoint has come, or has become healthy.
func (b *Balancer) Came(w *model.Workload) { b.young.came(w.UID) }

// Left forgets an endpoint.
func (b *Balancer) Left(uid string) {
	b.young.mu.Lock()
	delete(b.young.since, uid)
	b.young.mu.Unlock()
	if e := &b.ill; e.some() {
		e.mu.Lock()
		defer e.mu.Unlock()
		for service, of := range e.all {
			if of[uid] != nil {
				e.remove(service, uid)
			}
		}
	}
}

func (y *young) came(uid string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	now := y.now()
	if y.since == nil {
		y.since, y.swept = map[string]time.Time{}, now
	}
	if now.Sub(y.swept) > youth/24 {
		y.swept = now
		for uid, t := range y.since {
			if now.Sub(t) > youth {
				delete(y.since, uid)
			}
		}
	}
	y.since[uid] = now
}

// age of an endpoint; false for those that were always there.
func (y *young) age(uid string) (time.Duration, bool) {
	y.mu.Lock()
	defer y.mu.Unlock()
	t, ok := y.since[uid]
	return y.now().Sub(t), ok
}
