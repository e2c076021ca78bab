package launcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/waypoint/trial"
)

const (
	// memory is how long a verdict is remembered: what is refused comes again while the controller looks for its cause.
	memory = time.Minute
	// maxVerdicts bounds how many.
	maxVerdicts = 64
)

// trials run one after the other, for each may take most of the memory that is left; who asks twice gets one answer. A
// trial goes on when nobody waits for it any more.
type trials struct {
	try func(context.Context, trial.Candidate) error
	now func() time.Time

	ctx     context.Context // of all trials
	end     context.CancelFunc
	running sync.WaitGroup
	turn    chan struct{} // holds one that may run

	mu       sync.Mutex // protects what follows
	verdicts map[digest]*verdict
	queued   map[string]*verdict // the last of a type, if it has not begun
}

// verdict on a candidate, of now or to come.
type verdict struct {
	sum   digest
	done  chan struct{} // closed once there is one
	err   error         // nil accepts
	until time.Time     // it is remembered; zero until there is one
	drop  func()        // ends it before it began
}

func newTrials(try func(context.Context, trial.Candidate) error, now func() time.Time) *trials {
	t := &trials{try: try, now: now, turn: make(chan struct{}, 1), verdicts: map[digest]*verdict{}, queued: map[string]*verdict{}}
	t.ctx, t.end = context.WithCancel(context.Background())
	return t
}

// close ends all trials.
func (t *trials) close() {
	t.end()
	t.running.Wait()
}

// of is the verdict on a candidate of some type whose resources have these hashes. One that waits for its turn is
// dropped for another of its type: that is what is to be served now. accepted is called if it accepts, whoever waits.
func (t *trials) of(kind string, sums []digest, c trial.Candidate, accepted func()) *verdict {
	key := sumOf(sums)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
	if v := t.verdicts[key]; v != nil {
		return v
	}
	if old := t.queued[kind]; old != nil {
		old.drop()
		delete(t.verdicts, old.sum)
	}
	ctx, drop := context.WithCancel(t.ctx)
	v := &verdict{sum: key, done: make(chan struct{}), drop: drop}
	t.verdicts[key], t.queued[kind] = v, v
	t.running.Go(func() {
		defer drop()
		if v.err = t.run(ctx, kind, v, c); v.err == nil {
			accepted()
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		v.until = t.now().Add(memory)
		close(v.done)
	})
	return v
}

func (t *trials) run(ctx context.Context, kind string, v *verdict, c trial.Candidate) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return &trial.Refusal{Outcome: trial.NotRun, Words: "a later change came before its turn"}
	}
	t.mu.Lock()
	if t.queued[kind] == v {
		delete(t.queued, kind)
	}
	t.mu.Unlock()
	return t.try(t.ctx, c)
}

// forget drops what is too old, and of more than may be remembered all that nobody waits for. With the lock held.
func (t *trials) forget() {
	full := len(t.verdicts) >= maxVerdicts
	for key, v := range t.verdicts {
		if !v.until.IsZero() && (full || t.now().After(v.until)) {
			delete(t.verdicts, key)
		}
	}
}

// sumOf does not mind in which order a response has its resources.
func sumOf(sums []digest) digest {
	sums = slices.Clone(sums)
	slices.SortFunc(sums, func(a, b digest) int { return bytes.Compare(a[:], b[:]) })
	h := sha256.New()
	for _, s := range sums {
		h.Write(s[:])
	}
	return digest(h.Sum(nil))
}
