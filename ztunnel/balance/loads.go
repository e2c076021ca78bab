package balance

import "sync"

// loads counts living connections by a key.
type loads[K comparable] struct {
	mu sync.Mutex // protects n
	n  map[K]int
}

// enter counts one more, unless there are limit already; 0 is no limit. leave is to be called once.
func (l *loads[K]) enter(k K, limit uint32) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limit > 0 && l.n[k] >= int(limit) {
		return nil, false
	}
	if l.n == nil {
		l.n = map[K]int{}
	}
	l.n[k]++
	return func() { l.leave(k) }, true
}

func (l *loads[K]) leave(k K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n[k]--; l.n[k] == 0 {
		delete(l.n, k)
	}
}

func (l *loads[K]) of(k K) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n[k]
}
