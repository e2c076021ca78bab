package enroll

import (
	"sync"
	"time"
)

// Clock of a Reconciler.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f on a goroutine of its own after d, unless stop was called before.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// realClock is time itself.
type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }
func (realClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// queue hands out keys, each to one worker at a time and once for any number of wishes.
type queue struct {
	clock Clock

	mu      sync.Mutex // protects what follows
	changed *sync.Cond
	ready   []string
	queued  map[string]bool        // in ready
	running map[string]bool        // value: wanted again
	timers  map[string]func() bool // one a key
	closed  bool
}

func newQueue(c Clock) *queue {
	q := &queue{clock: c, queued: map[string]bool{}, running: map[string]bool{}, timers: map[string]func() bool{}}
	q.changed = sync.NewCond(&q.mu)
	return q
}

func (q *queue) add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(key)
}

// push queues key. q.mu is held.
func (q *queue) push(key string) {
	if _, busy := q.running[key]; busy {
		q.running[key] = true
		return
	}
	if q.queued[key] || q.closed {
		return
	}
	q.queued[key] = true
	q.ready = append(q.ready, key)
	q.changed.Signal()
}

// addAfter replaces an earlier addAfter for the key.
func (q *queue) addAfter(key string, d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if stop := q.timers[key]; stop != nil {
		stop()
	}
	if q.closed {
		return
	}
	q.timers[key] = q.clock.AfterFunc(d, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.timers, key)
		q.push(key)
	})
}

// get waits for a key; ok is false once the queue is closed. Call done afterwards.
func (q *queue) get() (key string, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.ready) == 0 && !q.closed {
		q.changed.Wait()
	}
	if q.closed {
		return "", false
	}
	key, q.ready = q.ready[0], q.ready[1:]
	delete(q.queued, key)
	q.running[key] = false
	return key, true
}

func (q *queue) done(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	again := q.running[key]
	delete(q.running, key)
	if again {
		q.push(key)
	}
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, stop := range q.timers {
		stop()
	}
	clear(q.timers)
	q.changed.Broadcast()
}
