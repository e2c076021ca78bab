package upgrade

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/hbone/engine"
	"github.com/weftmesh/weft/pkg/hbone/handover"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/inpod"
)

// Options of New. All without a default are required.
type Options struct {
	// Dir is the folder of the socket at which the old ztunnel is asked: root's alone.
	Dir string
	// Vouch is asked about the process at the other end; see handover.Options. nil: it must be in the caller's own cgroup.
	Vouch func(*net.UnixConn) error
	Pods  *inpod.Manager
	Flows *flow.Table
	// Shards that drive the pods' tunnels. nil: crypto/tls does, and nothing can be moved.
	Shards  *hbone.Shards
	Metrics *telemetry.Metrics
	// Adopted is called when connections have come: what has changed while they were on their way has to be judged.
	Adopted func()
	// Log; nil: none.
	Log *zap.Logger
}

// Upgrade is both sides of one ztunnel's life: successor first, predecessor later.
type Upgrade struct {
	o        Options
	moved    *prometheus.CounterVec
	failures *prometheus.CounterVec
	pause    atomic.Int64 // ns, of the last one
}

// New registers the metrics.
func New(o Options) *Upgrade {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Adopted == nil {
		o.Adopted = func() {}
	}
	u := &Upgrade{o: o}
	u.moved = o.Metrics.CounterVec("upgrade_connections_total", "Connections at an upgrade of this ztunnel: taken from its predecessor, given to its successor, or drained since they could not be moved.", "what")
	u.failures = o.Metrics.CounterVec("upgrade_failures_total", "Attempts to pass connections on at an upgrade that came to nothing, by cause; the old ztunnel drains them.", "cause")
	o.Metrics.GaugeFunc("upgrade_pause_seconds", "For how long connections stood still at the last upgrade.", func() float64 { return time.Duration(u.pause.Load()).Seconds() })
	return u
}

// version of all that is passed on: both sides must have the same. What it is made of counts too, since gob leaves a
// field that only one side has at zero.
var version = sync.OnceValue(func() string {
	h := fnv.New64a()
	shape(h, reflect.TypeFor[state](), map[reflect.Type]bool{})
	return fmt.Sprintf("weft 1 hbone %d engine %d flow %d shape %x", hbone.StateVersion, engine.StateVersion, flow.StateVersion, h.Sum64())
})

// shape writes what gob sees of a type: its fields' names and kinds, all the way down.
func shape(w io.Writer, t reflect.Type, seen map[reflect.Type]bool) {
	fmt.Fprintf(w, "%s %s(", t, t.Kind())
	defer fmt.Fprint(w, ")")
	if seen[t] {
		return
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			fmt.Fprintf(w, "%s ", f.Name)
			shape(w, f.Type, seen)
		}
	case reflect.Pointer, reflect.Slice:
		shape(w, t.Elem(), seen)
	case reflect.Array:
		fmt.Fprint(w, t.Len())
		shape(w, t.Elem(), seen)
	case reflect.Map:
		shape(w, t.Key(), seen)
		shape(w, t.Elem(), seen)
	default: // its name says it
	}
}

func (u *Upgrade) options() handover.Options {
	return handover.Options{Dir: u.o.Dir, Vouch: u.o.Vouch, Version: version()}
}

const (
	// takeAttempts: the agent may name a pod to the old ztunnel a moment before it does to the new one.
	takeAttempts = 4
	takePause    = 500 * time.Millisecond
)

// Predecessor reports that somebody has offered connections here. He may be gone.
func (u *Upgrade) Predecessor() bool {
	_, err := os.Lstat(filepath.Join(u.o.Dir, handover.SocketName))
	return u.o.Shards != nil && err == nil
}

// Take takes over from the ztunnel that runs here, if there is one and it can be. Whatever comes of it, this one runs
// on; it logs and counts. It is to be called when new connections of all pods come here already.
func (u *Upgrade) Take(ctx context.Context) {
	if u.o.Shards == nil {
		return
	}
	for try := 1; ; try++ {
		t := &taker{Upgrade: u}
		err := handover.Take(ctx, u.options(), t)
		var unknown *inpod.UnknownPodError
		switch {
		case err == nil, errors.Is(err, handover.ErrNobody), ctx.Err() != nil:
			return
		case !errors.As(err, &unknown) || try == takeAttempts:
			u.failed("connections of the old ztunnel are not taken over: it drains them", err)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(takePause):
		}
	}
}

// Serve offers what this ztunnel carries to a successor until ctx ends. given: one has it, and this one has nothing
// left but to drain.
func (u *Upgrade) Serve(ctx context.Context) (given bool) {
	if u.o.Shards == nil {
		u.o.Log.Info("connections on crypto/tls cannot be passed on at an upgrade: they drain")
		return false
	}
	err := handover.Serve(ctx, u.options(), &giver{Upgrade: u}, func(err error) {
		u.failed("connections were not passed on at an upgrade", err)
	})
	if err != nil && ctx.Err() == nil {
		u.o.Log.Error("an upgrade will drain: connections cannot be passed on", zap.String("folder", u.o.Dir), zap.Error(err))
	}
	return err == nil
}

func (u *Upgrade) failed(what string, err error) {
	cause := "other"
	switch {
	case errors.Is(err, handover.ErrLost):
		cause = "lost"
	case errors.Is(err, handover.ErrRefused):
		cause = "refused"
	case errors.Is(err, handover.ErrWithdrawn), errors.Is(err, os.ErrDeadlineExceeded):
		cause = "timeout"
	}
	u.failures.WithLabelValues(cause).Inc()
	u.o.Log.Warn(what, zap.String("cause", cause), zap.Error(err))
}
