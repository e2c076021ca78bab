package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/hbone/handover"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/upgrade"
)

// The agent leads new connections to a ztunnel a moment after it has heard that it listens: so long a successor waits
// before it asks for the old ones, so that few come to the predecessor after those are gone, and so long the
// predecessor goes on listening then.
const (
	steered  = 500 * time.Millisecond
	lingerIn = time.Second
)

// succession is this ztunnel's part in upgrades.
type succession struct {
	z     *ztunnel.Ztunnel
	u     *upgrade.Upgrade // nil: connections drain
	asked chan struct{}    // closed when the old ztunnel has been asked
}

func newSuccession(c config, z *ztunnel.Ztunnel, shards *hbone.Shards, log *zap.Logger) *succession {
	s := &succession{z: z, asked: make(chan struct{})}
	if c.handoverDir == "" {
		close(s.asked)
		return s
	}
	s.u = upgrade.New(upgrade.Options{Dir: c.handoverDir, Vouch: handover.AskVoucher(handover.VoucherBeside(c.zdsSocket)), Pods: z.Pods, Flows: z.Flows, Shards: shards, Metrics: z.Metrics, Adopted: z.Revise, Log: log})
	return s
}

// ready returns nil once traffic can be carried, and what the old ztunnel carried has come here or will not.
func (s *succession) ready() error {
	if err := s.z.Ready(); err != nil {
		return err
	}
	select {
	case <-s.asked:
		return nil
	default:
		return errors.New("taking over the connections of the old ztunnel")
	}
}

// run takes over from the old ztunnel as soon as this one carries all new connections, and serves a new one then.
// It returns true when that has taken over and needs this one no more, or false when ctx ends.
func (s *succession) run(ctx context.Context) (given bool) {
	if s.u == nil {
		return false
	}
	for s.z.Ready() != nil {
		if !sleep(ctx, 10*time.Millisecond) {
			return false
		}
	}
	if s.u.Predecessor() {
		if !sleep(ctx, steered) {
			return false
		}
		s.u.Take(ctx)
	}
	close(s.asked)
	return s.u.Serve(ctx) && sleep(ctx, lingerIn)
}

// sleep reports that ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
