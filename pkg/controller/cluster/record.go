package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	clientcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// RecordName of the ConfigMap that a Record is in. The chart makes it: the right to create any ConfigMap is not needed for it.
const RecordName = "weft-refusals"

// RecordOptions configure NewRecord.
type RecordOptions struct {
	// Client of the API server. Required.
	Client kubernetes.Interface
	// Identity of this replica among the others: its pod's name. Required.
	Identity string
	// Changed, if set, is called when the others say something else.
	Changed func()
	// Every bounds how often it is written. Default 200 ms.
	Every time.Duration
	// Registerer of the metrics; nil for none.
	Registerer prometheus.Registerer
	// Logger, default none.
	Logger *zap.Logger
}

// Record is what the replicas of the controller tell each other: one text each, under their names. Nothing waits for it,
// and while the API server is away what was read last stays.
type Record struct {
	o      RecordOptions
	kick   chan struct{}
	behind prometheus.Gauge

	mu      sync.Mutex // protects what follows
	mine    string     // to be written
	stored  *string    // what is there of us; nil: not known
	others  map[string]string
	gone    []string // whose texts are to be removed
	failing map[string]bool
}

const recordTimeout = 5 * time.Second

// NewRecord prepares it; nothing is asked of the server yet.
func NewRecord(o RecordOptions) *Record {
	o.Every = cmp.Or(o.Every, 200*time.Millisecond)
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	r := &Record{o: o, kick: make(chan struct{}, 1), failing: map[string]bool{}, behind: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "weft", Subsystem: "controller", Name: "record_behind",
		Help: "1 while this replica cannot tell the others what its waypoints refuse and accept, or cannot hear them."})}
	if o.Registerer != nil {
		o.Registerer.MustRegister(r.behind)
	}
	return r
}

// Say replaces what this replica tells the others; "" takes it back. It does not wait.
func (r *Record) Say(text string) {
	r.mu.Lock()
	r.mine = text
	r.mu.Unlock()
	r.poke()
}

// Others is what the other replicas said last, by their names.
func (r *Record) Others() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.others)
}

// Remove takes out what a replica said that is no more. It does not wait.
func (r *Record) Remove(replica string) {
	r.mu.Lock()
	r.gone = append(r.gone, replica)
	r.mu.Unlock()
	r.poke()
}

func (r *Record) poke() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Run reads and writes until ctx ends; then it takes back what this replica has said.
func (r *Record) Run(ctx context.Context) {
	var reading sync.WaitGroup
	reading.Go(func() { r.read(ctx) })
	var retry <-chan time.Time
	for wait := minRetry; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			continue
		case <-r.kick:
		case <-retry:
		}
		err := r.write(ctx)
		r.trouble(ctx, "written", err)
		if err != nil {
			retry = time.After(wait)
			wait = min(2*wait, maxRetry)
			continue
		}
		retry, wait = nil, minRetry
		pause(ctx, r.o.Every)
	}
	reading.Wait()
	r.Say("")
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = r.write(late) // else whoever holds the Lease removes it, once the pod is gone
}

// write brings up to date what is there of this replica, and removes what is to go.
func (r *Record) write(ctx context.Context) error {
	r.mu.Lock()
	data, mine, gone := map[string]any{}, r.mine, r.gone
	known := r.stored != nil
	if known && *r.stored != mine {
		data[r.o.Identity] = mine
		if mine == "" {
			data[r.o.Identity] = nil
		}
	}
	for _, replica := range gone {
		data[replica] = nil
	}
	r.mu.Unlock()
	if !known || len(data) == 0 {
		return nil // what is there is read first
	}
	patch, err := json.Marshal(map[string]any{"data": data})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	if _, err := r.maps().Patch(ctx, RecordName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager}); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stored, r.gone = &mine, r.gone[len(gone):]
	return nil
}

// read follows what is there until ctx ends.
func (r *Record) read(ctx context.Context) {
	wait := minRetry
	for ctx.Err() == nil {
		err := r.follow(ctx)
		r.trouble(ctx, "read", err)
		if err == nil {
			wait = minRetry
		}
		pause(ctx, wait)
		wait = min(2*wait, recordTimeout)
	}
}

// follow reads what is there, and what becomes of it until the watch ends.
func (r *Record) follow(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, recordTimeout)
	now, err := r.maps().Get(limited, RecordName, metav1.GetOptions{})
	cancel()
	if err != nil {
		return err
	}
	r.take(now.Data)
	r.trouble(ctx, "read", nil)
	w, err := r.maps().Watch(ctx, metav1.ListOptions{ResourceVersion: now.ResourceVersion, FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, RecordName).String()})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		m, ok := e.Object.(*corev1.ConfigMap)
		switch {
		case e.Type == watch.Deleted:
			return fmt.Errorf("somebody has deleted ConfigMap %s, which Weft's chart makes", RecordName)
		case !ok:
			return nil // too old, as a rule
		}
		r.take(m.Data)
	}
	return nil
}

// take notes what is there.
func (r *Record) take(data map[string]string) {
	others := maps.Clone(data)
	mine := data[r.o.Identity]
	delete(others, r.o.Identity)
	r.mu.Lock()
	news := !maps.Equal(others, r.others)
	r.others, r.stored = others, &mine
	again := mine != r.mine
	r.mu.Unlock()
	if again {
		r.poke()
	}
	if news {
		r.o.Changed()
	}
}

func (r *Record) maps() clientcorev1.ConfigMapInterface {
	return r.o.Client.CoreV1().ConfigMaps(api.SystemNamespace)
}

// trouble tells when something begins to fail, and when it does not any more.
func (r *Record) trouble(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	was := r.failing[what]
	r.failing[what] = err != nil
	behind := 0.0
	if r.failing["read"] || r.failing["written"] {
		behind = 1
	}
	r.behind.Set(behind)
	r.mu.Unlock()
	at := zap.String("configMap", api.SystemNamespace+"/"+RecordName)
	switch {
	case err != nil && !was:
		r.o.Logger.Warn("what waypoints refuse and accept cannot be "+what+" where the controller's replicas tell each other: statuses may miss what another replica has heard, and patches may count as untried", at, zap.Error(err))
	case err == nil && was:
		r.o.Logger.Info("what waypoints refuse and accept can be "+what+" again where the controller's replicas tell each other", at)
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
