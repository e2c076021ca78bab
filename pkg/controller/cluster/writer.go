package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/waypoint/deploy"
)

// Manager is the name under which fields are owned.
const Manager = "weft-controller"

// Options configure New.
type Options struct {
	// Config says where the API server is and who we are. Required.
	Config *rest.Config
	// Identity of this replica among the others: its pod's name. Required.
	Identity string
	// Namespace of the Lease and of our own pods. Default weft-system.
	Namespace string
	// Roots are the mesh's trusted roots in PEM. Required.
	Roots func() []byte
	// TaintNodes sets and lifts the taint weft.dev/agent-not-ready.
	TaintNodes bool
	// Lease is how long the writer's silence lasts until another takes over. Default 15 s.
	Lease time.Duration
	// Resync is how often everything is looked at without a notice of change. Default 1 min.
	Resync time.Duration
	// Registerer of the metrics; nil for none.
	Registerer prometheus.Registerer
	// Logger, default none.
	Logger *zap.Logger
}

// Report is what there is to say of one object.
type Report struct {
	controller.Status
	Problems []source.Problem
}

// Wanted is what the cluster is to look like.
type Wanted struct {
	// Objects that everything else follows from.
	Objects *source.Objects
	Reports []Report
	// Waypoints by their Gateways.
	Waypoints []*deploy.Objects
}

// Writer writes while it holds the Lease.
type Writer struct {
	o       Options
	client  *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
	metrics metrics
	events  *teller
	steps   []step
	kick    chan struct{}

	mu   sync.Mutex // protects want
	want *Wanted    // nil until it is known

	mine    atomic.Bool
	leading sync.Mutex        // held while this replica leads; protects what follows
	applied map[string]string // what was applied last, by object
	told    map[string]bool   // problems that Events were written of
	foreign map[string]bool   // objects of others in the way, told of
	pruned  string            // the waypoints' objects when those that are not wanted were last looked for
}

// step is one thing to write. Everything that can be done of it is, and the first error is returned.
type step struct {
	name string
	do   func(context.Context, *Wanted) error
}

// New prepares writing; nothing is asked of the server yet.
func New(o Options) (*Writer, error) {
	if o.Config == nil || o.Identity == "" || o.Roots == nil {
		return nil, errors.New("cluster.Options: Config, Identity and Roots are needed")
	}
	o.Namespace = cmp.Or(o.Namespace, api.SystemNamespace)
	o.Lease = cmp.Or(o.Lease, 15*time.Second)
	o.Resync = cmp.Or(o.Resync, time.Minute)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	w := &Writer{o: o, kick: make(chan struct{}, 1), metrics: newMetrics(o.Registerer)}
	var err error
	if w.client, err = kubernetes.NewForConfig(o.Config); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	if w.dynamic, err = dynamic.NewForConfig(o.Config); err != nil {
		return nil, fmt.Errorf("client of the API server: %w", err)
	}
	w.events = newTeller(w.client, o.Identity, o.Logger)
	if o.TaintNodes {
		w.steps = append(w.steps, step{"taints", w.writeTaints})
	}
	w.steps = append(w.steps, step{"roots", w.writeRoots}, step{"waypoints", w.writeWaypoints}, step{"status", w.writeStatus})
	return w, nil
}

// Set replaces what is wanted. It does not wait.
func (w *Writer) Set(want *Wanted) {
	w.mu.Lock()
	w.want = want
	w.mu.Unlock()
	w.poke()
}

func (w *Writer) poke() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Waits between attempts to write, which double, and how often the roots are compared.
const (
	minRetry   = 500 * time.Millisecond
	maxRetry   = 30 * time.Second
	rootsEvery = 5 * time.Second
)

// lead writes until ctx ends, which is when the Lease is lost.
func (w *Writer) lead(ctx context.Context, refresh func()) {
	w.leading.Lock()
	defer w.leading.Unlock()
	if ctx.Err() != nil {
		return // lost before it began
	}
	w.mine.Store(true)
	w.metrics.leads.Set(1)
	w.o.Logger.Info("this replica writes to the API server")
	defer func() {
		w.mine.Store(false)
		w.metrics.leads.Set(0)
		w.o.Logger.Info("this replica does not write any more")
	}()
	refresh()
	w.applied, w.foreign, w.pruned = map[string]string{}, map[string]bool{}, ""
	resync := time.NewTicker(w.o.Resync)
	defer resync.Stop()
	roots := time.NewTicker(rootsEvery)
	defer roots.Stop()
	wait := minRetry
	var retry <-chan time.Time
	w.poke()
	for {
		select {
		case <-ctx.Done():
			return
		case <-resync.C:
			clear(w.applied)
			w.pruned = ""
		case <-roots.C:
			if !w.rootsChanged() {
				continue
			}
		case <-w.kick:
		case <-retry:
		}
		err := w.sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.o.Logger.Warn("not everything is written to the API server, it will be tried again; proxies are served regardless", zap.Duration("retryIn", wait), zap.Error(err))
			retry = time.After(wait)
			wait = min(wait*2, maxRetry)
			continue
		}
		retry, wait = nil, minRetry
	}
}

// sync does every step once.
func (w *Writer) sync(ctx context.Context) error {
	w.mu.Lock()
	want := w.want
	w.mu.Unlock()
	if want == nil {
		return nil // what is there is not stale until the objects have been read
	}
	var errs []error
	for _, s := range w.steps {
		err := s.do(ctx, want)
		w.metrics.round(s.name, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		}
	}
	return errors.Join(errs...)
}

// first keeps the first error of several.
type first struct{ err error }

func (f *first) add(err error) {
	if f.err == nil {
		f.err = err
	}
}
