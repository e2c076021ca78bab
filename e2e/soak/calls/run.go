package calls

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// maxAtOnce bounds the calls of one kind that are under way; a call that finds no room has failed.
const maxAtOnce = 64

// Run calls until the context ends and writes a Tally as a line of JSON every report. rate multiplies the
// rates of all kinds.
func Run(ctx context.Context, role Role, rate float64, report time.Duration, out io.Writer) error {
	kinds, closeAll, err := kindsOf(role)
	if err != nil {
		return err
	}
	defer closeAll()
	if rate <= 0 {
		return fmt.Errorf("rate %v: want more than 0", rate)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := newCounter()
	var wg sync.WaitGroup
	for _, k := range kinds {
		wg.Go(func() { k.repeat(ctx, time.Duration(float64(k.every)/rate), c) })
	}
	tick := time.NewTicker(report)
	defer tick.Stop()
	for enc := json.NewEncoder(out); ; {
		select {
		case <-ctx.Done():
			wg.Wait()
			return enc.Encode(c.take())
		case <-tick.C:
			if err := enc.Encode(c.take()); err != nil {
				return fmt.Errorf("the reader is gone: %w", err)
			}
		}
	}
}

// Once makes one call of each kind that is short and returns those that failed: to see whether the mesh is
// as the calls want it.
func Once(ctx context.Context, role Role) error {
	kinds, closeAll, err := kindsOf(role)
	if err != nil {
		return err
	}
	defer closeAll()
	errs := make([]error, len(kinds))
	var wg sync.WaitGroup
	for i, k := range kinds {
		if k.every > time.Second {
			continue
		}
		wg.Go(func() {
			if _, err := k.once(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", k.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// repeat starts a call at each tick, whether or not earlier ones have ended: slow answers do not make the
// load lighter.
func (k kind) repeat(ctx context.Context, every time.Duration, c *counter) {
	room := make(chan struct{}, maxAtOnce)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case room <- struct{}{}:
		default:
			c.add(k.name, time.Now(), "", fmt.Errorf("%d calls are under way and none has ended", maxAtOnce))
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			since := time.Now()
			outcome, err := k.once(ctx)
			if ctx.Err() == nil { // what the end of the run cut off says nothing
				c.add(k.name, since, outcome, err)
			}
		})
	}
}

func (k kind) once(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return k.call(ctx)
}

func kindsOf(role Role) ([]kind, func(), error) {
	switch role {
	case Frontend:
		return frontendKinds()
	case Shopper:
		return shopperKinds(), func() {}, nil
	case Stranger:
		return strangerKinds(), func() {}, nil
	}
	return nil, nil, fmt.Errorf("role %q: want %s, %s or %s", role, Frontend, Shopper, Stranger)
}
