package hbone

import (
	"fmt"
	"sync"
	"time"
)

// idleWatch ends a splice when nothing moves.
type idleWatch struct {
	e *ending

	mu    sync.Mutex // protects what follows
	timer Timer
	last  uint64    // what had moved
	since time.Time // when the period began
	over  bool
}

// newIdleWatch watches e, of which nothing has moved for idle.
func newIdleWatch(e *ending, idle time.Duration) *idleWatch {
	w := &idleWatch{e: e}
	clock := e.s.c.env.clock
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last, w.since = e.moved(), clock.Now().Add(-idle)
	w.timer = clock.AfterFunc(max(e.o.Idle-idle, time.Millisecond), w.look)
	return w
}

// moved is how many bytes the splice has moved.
func (e *ending) moved() uint64 { return e.o.ToApp.Load() + e.o.ToTunnel.Load() }

// look ends the splice, or begins another period.
func (w *idleWatch) look() {
	if w.stalled() {
		w.e.stop(fmt.Errorf("%w: nothing moved for %v", ErrIdle, w.e.o.Idle))
	}
}

func (w *idleWatch) stalled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.e.moved()
	if w.over || now == w.last {
		return !w.over
	}
	w.last, w.since = now, w.e.s.c.env.clock.Now()
	w.timer.Reset(w.e.o.Idle)
	return false
}

func (w *idleWatch) release() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	w.timer.Stop()
}

// idleFor is how long nothing has moved.
func (e *ending) idleFor() time.Duration {
	w := e.idle
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.moved() != w.last {
		return 0
	}
	return max(0, e.s.c.env.clock.Now().Sub(w.since))
}
