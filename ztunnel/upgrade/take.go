package upgrade

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/handover"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// taker is the successor's part.
type taker struct {
	*Upgrade
	release func() // the pods
	fds     []int
	tunnels int
	run     func() int
	frozen  time.Time

	preparing time.Duration // part of the pause
}

// Prepare implements handover.Taker, as all that follows.
func (t *taker) Prepare(_ context.Context, p handover.Parcel) (err error) {
	began := time.Now()
	t.fds, t.release = p.FDs, t.o.Pods.Hold()
	defer clear(p.State)
	defer func() {
		if err != nil {
			t.Discard()
		}
	}()
	var st state
	if err = gob.NewDecoder(bytes.NewReader(p.State)).Decode(&st); err == nil {
		err = st.unpack()
	}
	if err != nil {
		return fmt.Errorf("read what the old ztunnel has sent: %w", err)
	}
	t.frozen = time.Unix(0, st.Frozen)
	flows := make(map[uint64]*flow.State, len(st.Flows))
	for i := range st.Flows {
		flows[st.Flows[i].Key] = &st.Flows[i]
	}
	for i := range st.Pods {
		t.tunnels += len(st.Pods[i].Tunnel.In) + len(st.Pods[i].Tunnel.Out)
	}
	t.run, err = t.o.Pods.Import(st.Pods, flows, p.FDs)
	t.preparing = time.Since(began)
	return err
}

func (t *taker) Discard() {
	for _, fd := range t.fds {
		unix.Close(fd)
	}
	t.release()
}

func (t *taker) Run() {
	n := t.run()
	paused := time.Since(t.frozen)
	t.release()
	t.o.Adopted()
	t.pause.Store(int64(paused))
	t.moved.WithLabelValues("taken").Add(float64(n))
	t.o.Log.Info("connections of the old ztunnel taken over", zap.Int("connections", n), zap.Int("tunnels", t.tunnels), zap.Duration("paused", paused), zap.Duration("of_which_preparing", t.preparing))
}
