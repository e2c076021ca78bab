package upgrade

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/hbone/handover"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/inpod"
)

// state is all that is passed on, but for the descriptors.
type state struct {
	Frozen int64 // since when nothing moves, in Unix nanoseconds
	Pods   []inpod.PodState
	Flows  []flow.State
	// Labels of the Flows, each once, and which of them each flow has: a flow's own are empty on the way.
	Labels   []telemetry.Labels
	LabelsOf []int
}

// pack takes the labels out of the flows.
func (s *state) pack() {
	at := map[telemetry.Labels]int{}
	for i := range s.Flows {
		l := &s.Flows[i].Labels
		n, ok := at[*l]
		if !ok {
			n = len(s.Labels)
			at[*l] = n
			s.Labels = append(s.Labels, *l)
		}
		s.LabelsOf = append(s.LabelsOf, n)
		*l = telemetry.Labels{}
	}
}

// unpack puts them back.
func (s *state) unpack() error {
	if len(s.LabelsOf) != len(s.Flows) {
		return fmt.Errorf("labels of %d flows, of %d", len(s.LabelsOf), len(s.Flows))
	}
	for i, n := range s.LabelsOf {
		if n < 0 || n >= len(s.Labels) {
			return fmt.Errorf("there are no labels %d", n)
		}
		s.Flows[i].Labels = s.Labels[n]
	}
	return nil
}

// wipe forgets the keys.
func (s *state) wipe() {
	for i := range s.Pods {
		for _, conns := range [][]hbone.ConnState{s.Pods[i].Tunnel.Out, s.Pods[i].Tunnel.In} {
			for j := range conns {
				clear(conns[j].Keys.Out)
				clear(conns[j].Keys.In)
			}
		}
	}
}

const (
	// settleFor is how long connections that are just being made get to become movable; they run meanwhile.
	settleFor   = 500 * time.Millisecond
	settlePause = 5 * time.Millisecond
)

// giver is the predecessor's part.
type giver struct {
	*Upgrade
	release func() // the pods
	frozen  *hbone.Frozen
	began   time.Time
	tunnels int // given
	flows   int
	stay    int // tunnels
	left    int // connections that stay

	describing time.Duration // part of the pause
	bytes      int
}

// Freeze implements handover.Giver, as all that follows.
func (g *giver) Freeze(ctx context.Context) (handover.Parcel, error) {
	g.release = g.o.Pods.Hold()
	g.settle(ctx)
	st := state{Frozen: g.began.UnixNano()}
	var fds []int
	st.Pods, fds, g.stay = g.o.Pods.Export(g.frozen)
	keys := map[uint64]bool{}
	g.tunnels = 0
	for i := range st.Pods {
		t := &st.Pods[i].Tunnel
		g.tunnels += len(t.In) + len(t.Out)
		t.Keys(func(key uint64) { keys[key] = true })
	}
	st.Flows = g.o.Flows.States(func(key uint64) bool { return keys[key] })
	st.pack()
	g.flows = len(st.Flows)
	g.left = max(0, g.o.Flows.Len()-g.flows)
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(&st)
	st.wipe()
	if err != nil {
		clear(b.Bytes())
		g.Thaw()
		return handover.Parcel{}, fmt.Errorf("describe connections: %w", err)
	}
	g.describing, g.bytes = time.Since(g.began), b.Len()
	return handover.Parcel{State: b.Bytes(), FDs: fds}, nil
}

// settle freezes when nothing would stay behind, or after a while anyway.
func (g *giver) settle(ctx context.Context) {
	limit := time.Now().Add(settleFor)
	for {
		g.began = time.Now()
		g.frozen = g.o.Shards.Freeze()
		if g.o.Pods.Staying(g.frozen) == 0 || time.Now().After(limit) || ctx.Err() != nil {
			return
		}
		g.frozen.Thaw()
		time.Sleep(settlePause)
	}
}

func (g *giver) Thaw() {
	g.frozen.Thaw()
	g.release()
}

func (g *giver) Drop() {
	g.frozen.Drop()
	g.release()
}

func (g *giver) Done() {
	pause := time.Since(g.began)
	g.Upgrade.pause.Store(int64(pause))
	g.moved.WithLabelValues("given").Add(float64(g.flows))
	g.moved.WithLabelValues("drained").Add(float64(g.left))
	g.o.Log.Info("a new ztunnel goes on with the connections", zap.Int("connections", g.flows), zap.Int("tunnels", g.tunnels),
		zap.Duration("paused", pause), zap.Duration("of_which_describing", g.describing), zap.Int("bytes", g.bytes), zap.Int("draining", g.left), zap.Int("tunnels_draining", g.stay))
}

func (g *giver) Lost(error) {
	g.o.Log.Error("a new ztunnel took the connections over and does not run: they may be lost", zap.Int("connections", g.flows))
}
