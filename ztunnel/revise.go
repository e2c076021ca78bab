package ztunnel

import (
	"context"
	"time"

	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/state"
)

// revisePause gathers changes that come in a burst, well under the second within which they must bite.
const revisePause = 50 * time.Millisecond

// revise decides again on every governed connection whenever the mesh has changed, and cuts those that
// are forbidden now. It returns when ctx ends.
func revise(ctx context.Context, s *state.State, flows *flow.Table) {
	for {
		changed := s.Changed()
		reviseOnce(s, flows)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(revisePause):
		}
	}
}

func reviseOnce(s *state.State, flows *flow.Table) {
	flows.Each(func(f *flow.Flow) {
		c, ok := f.Governed()
		if !ok {
			return
		}
		w := s.PodByKey(f.Pod)
		if w == nil {
			return // the agent's word ends a pod's connections, not a gap in the configuration
		}
		if v := s.Decide(w, c); !v.Allowed {
			f.Kill(flow.Denied(v.Policy, v.Reason))
		}
	})
}
