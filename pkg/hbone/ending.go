package hbone

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// ending is how a splice of either driver comes to its end.
type ending struct {
	s     *Stream
	o     SpliceOptions
	cause atomic.Pointer[error] // why this side ended it
	unctx func() bool           // stops watching the context
	idle  *idleWatch
}

// newEnding begins to watch. Nothing has moved for idle.
func newEnding(ctx context.Context, s *Stream, o SpliceOptions, idle time.Duration) *ending {
	o = o.counted()
	e := &ending{s: s, o: o}
	if ctx.Done() != nil {
		e.unctx = context.AfterFunc(ctx, func() { e.stop(context.Cause(ctx)) })
	}
	if o.Idle > 0 {
		e.idle = newIdleWatch(e, idle)
	}
	return e
}

// counted has counters of its own, where there are none.
func (o SpliceOptions) counted() SpliceOptions {
	if o.ToApp == nil {
		o.ToApp = new(atomic.Uint64)
	}
	if o.ToTunnel == nil {
		o.ToTunnel = new(atomic.Uint64)
	}
	return o
}

// release ends the watches.
func (e *ending) release() {
	if e.unctx != nil {
		e.unctx()
	}
	if e.idle != nil {
		e.idle.release()
	}
}

// stop ends the splice from outside.
func (e *ending) stop(err error) {
	e.cause.CompareAndSwap(nil, &err)
	e.s.Reset()
}

// verdict ends the stream and finds the error to report: broke is what befell the application's side, reset the
// stream. hard tells that the application has to see a reset.
func (e *ending) verdict(broke, reset error) (err error, hard bool) { //nolint:revive,staticcheck // hard explains err
	switch cause := e.cause.Load(); {
	case cause != nil:
		return *cause, true
	case reset != nil:
		return reset, true
	case broke != nil:
		e.s.abort(engine.ConnectError)
		var r *ResetError
		if errors.As(broke, &r) {
			return r, true
		}
		return fmt.Errorf("%w: %w", ErrApp, broke), true
	}
	e.s.abort(engine.NoError) // both directions have ended: this frees, and resets nothing
	return nil, false
}
