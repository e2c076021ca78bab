package launcher

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/waypoint/trial"
)

// maxTried bounds what is remembered of accepted resources, by their hashes.
const maxTried = 4096

// gate tries what patches have changed before Envoy is given it. To the controller a refusal by the trial is Envoy's
// own: it takes the patch back and says so in its status.
type gate struct {
	try    func(context.Context, trial.Candidate) error // nil accepts
	trials *prometheus.CounterVec                       // by outcome
	log    *zap.Logger

	mu    sync.Mutex // protects tried
	tried map[[sha256.Size]byte]bool
}

func newGate(try func(context.Context, trial.Candidate) error, r *reporter, log *zap.Logger) *gate {
	return &gate{try: try, log: log, tried: map[[sha256.Size]byte]bool{},
		trials: r.metrics.CounterVec("waypoint_patch_trials_total", "Trials of what an EnvoyPatch has changed, by an Envoy of their own, by their end.", "outcome")}
}

// judge reports why Envoy must not be given a response.
func (g *gate) judge(ctx context.Context, r *discoveryv3.DeltaDiscoveryResponse) error {
	var c trial.Candidate
	var sums [][sha256.Size]byte
	for _, res := range r.GetResources() {
		before := c
		patched, err := c.Add(res.GetResource())
		if err != nil {
			return &trial.Refusal{Outcome: trial.NotRun, Words: fmt.Sprintf("%s: %v", res.GetName(), err)}
		}
		if !patched {
			continue
		}
		sum := sha256.Sum256(res.GetResource().GetValue())
		if g.known(sum) {
			c = before
			continue
		}
		sums = append(sums, sum)
	}
	if len(sums) == 0 {
		return nil
	}
	err := g.try(ctx, c)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	outcome := trial.OutcomeOf(err)
	g.trials.WithLabelValues(string(outcome)).Inc()
	if err == nil {
		g.remember(sums)
		return nil
	}
	g.log.Warn("a patch is refused by its trial, Envoy goes on with what it has", zap.Error(err))
	return err
}

func (g *gate) known(sum [sha256.Size]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tried[sum]
}

func (g *gate) remember(sums [][sha256.Size]byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.tried)+len(sums) > maxTried {
		clear(g.tried)
	}
	for _, sum := range sums {
		g.tried[sum] = true
	}
}
