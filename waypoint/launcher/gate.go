package launcher

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

const (
	// maxTried bounds what is remembered of accepted resources, by their hashes.
	maxTried = 4096
	// patience is how long a response waits for the verdict on what is in it, where an Envoy serves that it is for.
	patience = time.Second
)

// gate tries what patches have changed before Envoy is given it, and keeps modules from it that have looped. To the
// controller a refusal is Envoy's own: it takes the object back and says so in its status.
type gate struct {
	trials  *trials
	loops   *loops
	serving func(context.Context) bool           // whether there is an Envoy that serves
	after   func(time.Duration) <-chan time.Time // the clock
	counter *prometheus.CounterVec               // of trials by outcome
	log     *zap.Logger

	mu    sync.Mutex // protects tried
	tried map[digest]bool
}

// digest is a hash of configuration.
type digest [sha256.Size]byte

// gateOptions are what a gate is made of.
type gateOptions struct {
	try     func(context.Context, trial.Candidate) error // nil accepts
	serving func(context.Context) bool
	after   func(time.Duration) <-chan time.Time // default time.After
	now     func() time.Time                     // default time.Now
	hang    time.Duration                        // see Options.HangTime
}

func newGate(o gateOptions, r *reporter, log *zap.Logger) *gate {
	if o.after == nil {
		o.after = time.After
	}
	if o.now == nil {
		o.now = time.Now
	}
	g := &gate{serving: o.serving, after: o.after, log: log, loops: newLoops(o.hang, o.now, log), tried: map[digest]bool{},
		counter: r.metrics.CounterVec("waypoint_patch_trials_total", "Trials of what an EnvoyPatch has changed, by an Envoy of their own, by their end.", "outcome")}
	g.trials = newTrials(func(ctx context.Context, c trial.Candidate) error {
		err := o.try(ctx, c)
		if ctx.Err() == nil {
			g.counter.WithLabelValues(string(trial.OutcomeOf(err))).Inc()
		}
		return err
	}, o.now)
	return g
}

// refusal says which resources of a response Envoy must not be given, and why.
type refusal struct {
	names map[string]bool
	words string
}

// judge waits for the verdict on a response that has these modules; nil lets it pass. It means nothing once ctx has ended.
func (g *gate) judge(ctx context.Context, r *discoveryv3.DeltaDiscoveryResponse, modules map[string][]translate.Module) *refusal {
	var c trial.Candidate
	var looped []translate.Source
	var sums []digest
	refused := &refusal{names: map[string]bool{}}
	for _, res := range r.GetResources() {
		if of := g.loops.among(modules[res.GetName()]); len(of) > 0 {
			looped = append(looped, of...)
			refused.names[res.GetName()] = true
			continue
		}
		before := c
		patched, err := c.Add(res.GetResource())
		if err != nil {
			words := (&trial.Refusal{Outcome: trial.NotRun, Words: fmt.Sprintf("%s: %v", res.GetName(), err)}).Error()
			return &refusal{names: namesOf(r), words: words}
		}
		if !patched {
			continue
		}
		sum := digest(sha256.Sum256(res.GetResource().GetValue()))
		if g.known(sum) {
			c = before
			continue
		}
		sums = append(sums, sum)
		refused.names[res.GetName()] = true
	}
	if len(looped) > 0 { // what else is not known is tried when all is sent again without them
		refused.words = trial.Withheld{Sources: looped}.String()
		return refused
	}
	if len(sums) == 0 {
		return nil
	}
	v := g.trials.of(r.GetTypeUrl(), sums, c, func() { g.remember(sums) })
	switch {
	case !g.wait(ctx, v):
		refused.words = trial.Withheld{Sources: c.Patches(), Pending: true}.String()
		return refused
	case v.err == nil:
		return nil
	}
	g.log.Warn("a patch is refused by its trial, Envoy goes on with what it has", zap.Error(v.err))
	refused.words = v.err.Error()
	return refused
}

func namesOf(r *discoveryv3.DeltaDiscoveryResponse) map[string]bool {
	out := map[string]bool{}
	for _, res := range r.GetResources() {
		out[res.GetName()] = true
	}
	return out
}

// wait reports whether there is a verdict. While Envoy serves others their changes do not wait for it; one that starts
// has nothing yet, and takes no patch back by being slow.
func (g *gate) wait(ctx context.Context, v *verdict) (done bool) {
	limit := g.after(patience)
	for {
		select {
		case <-v.done:
			return true
		case <-ctx.Done():
			return false
		case <-limit:
			if g.serving(ctx) {
				return false
			}
			limit = nil
		}
	}
}

func (g *gate) known(s digest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tried[s]
}

func (g *gate) remember(sums []digest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tried)+len(sums) > maxTried {
		clear(g.tried)
	}
	for _, s := range sums {
		g.tried[s] = true
	}
}
