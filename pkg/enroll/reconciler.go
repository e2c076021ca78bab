package enroll

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/zds"
)

// Redirector captures pods: a *bpf.Redirector.
type Redirector interface {
	Enrol(bpf.Pod) error
	SetListeners(uid string, l bpf.Listeners) error
	Unenrol(uid string) error
	Pods() []string // those of a predecessor included
}

// Proxy gives pods to ztunnels: a *zds.Agent.
type Proxy interface {
	List(zds.Pod) error
	Add(context.Context, zds.Pod) (zds.Peer, error)
	Del(ctx context.Context, uid string) error
	Current() zds.Peer
}

// Admitter decides whether a ztunnel's sockets may send from inside the pods: a *Cgroups.
type Admitter interface {
	Admit(zds.Peer) error
	Gone(zds.Peer)
}

// Options of a Reconciler. Those without a default are required.
type Options struct {
	Redirector Redirector
	Status     StatusWriter
	Admitter   Admitter
	// Open finds and opens a pod's network namespace.
	Open func(Pod) (Namespace, error)
	// Workers is how many pods are worked on at once. 0: 8.
	Workers int
	// Resync is how often every pod is looked at without being told to. 0: 30 s.
	Resync time.Duration
	// Linger is how long a pod that leaves the mesh, but runs on, stays captured after the announcement was
	// withdrawn, so that callers hear of it. 0: 1 s; negative: not at all.
	Linger time.Duration
	// RetryMin and RetryMax bound the pause after a failure, which doubles. 0: 200 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// Teller tells people of pods that cannot be enrolled; nil: only the log and the pages do.
	Teller Teller
	// Metrics; nil: none.
	Metrics *Metrics
	// Clock; nil: time itself.
	Clock Clock
	// Log; nil: none.
	Log *zap.Logger
}

// Reconciler makes the decisions true.
type Reconciler struct {
	o     Options
	log   *zap.Logger
	queue *queue
	proxy Proxy // from Prime on

	mu       sync.Mutex // protects what follows
	entries  map[string]*entry
	left     []Decision        // pods that the mesh leaves alone, for people
	admitted map[uint64]error  // connected ztunnels by connection, and why they may not be used
	stopped  map[string]bool   // pods whose sandbox is gone though the source still shows them
	troubled map[string]string // what people were told of pods that the mesh leaves alone, by UID
	decided  bool              // Set was called
}

// entry is a pod that is wanted, or that something remains to be undone of.
type entry struct {
	want   *Pod // nil: to be taken off
	runs   bool // the pod itself is there although it is not wanted
	reason string
	progress
	acked    uint64 // connection over which the ztunnel answered for it on the list
	attempts int    // failures in a row
	err      error  // the last one
	told     string // what people were told of it
	since    time.Time
	shown    bool          // the source has shown it
	starting bool          // Start wants it, and the source has not shown it yet
	turn     chan struct{} // closed after the next attempt; nil while nobody waits
}

// progress is how far a pod has come. One worker at a time changes it.
type progress struct {
	enrolled  bool   // captured
	pod       Pod    // as it was enrolled
	cookie    uint64 // of its namespace; 0: not known, as of pods of a predecessor
	noDNS     bool
	listed    listing // what the ztunnel was given
	peer      uint64  // connection of the ztunnel whose listeners are in the slots
	announced bool
	offAt     time.Time // withdrawn, to be detached then
}

// adopted is the reason of pods that nothing has been decided about yet.
const adopted = "enrolled by a former agent"

// listing is what a ztunnel knows of a pod.
type listing struct {
	cookie         uint64 // of the namespace
	serviceAccount string
}

// New makes a Reconciler that adopts the pods which the Redirector has.
func New(o Options) *Reconciler {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Resync, 30*time.Second)
	def(&o.Linger, time.Second)
	def(&o.RetryMin, 200*time.Millisecond)
	def(&o.RetryMax, 15*time.Second)
	if o.Workers <= 0 {
		o.Workers = 8
	}
	if o.Clock == nil {
		o.Clock = realClock{}
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	r := &Reconciler{o: o, log: o.Log, queue: newQueue(o.Clock), entries: map[string]*entry{}, admitted: map[uint64]error{}, stopped: map[string]bool{}, troubled: map[string]string{}}
	for _, uid := range o.Redirector.Pods() {
		// It may have been announced; saying so makes it withdrawn if it is not wanted.
		r.entries[uid] = &entry{reason: adopted, since: o.Clock.Now(),
			progress: progress{enrolled: true, announced: true, pod: Pod{UID: uid}}}
	}
	return r
}

// Set says what is wanted now.
func (r *Reconciler) Set(decisions []Decision, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.decided = true
	r.left = r.left[:0]
	named := map[string]bool{}
	for _, d := range decisions {
		named[d.Pod.UID] = true
		e := r.entries[d.Pod.UID]
		if e != nil {
			e.shown = true
		}
		switch {
		case d.Verdict != Leave && r.stopped[d.Pod.UID]:
			d.Reason = "its sandbox is gone"
			r.left = append(r.left, d)
		case d.Verdict == Enrol, d.Verdict == Keep && e != nil && e.reason == adopted && len(d.Pod.Addresses) > 0:
			r.want(d)
		case d.Verdict == Keep && e != nil && e.want != nil && e.want.HandOver && !d.Pod.HandOver:
			reason := d.Reason
			d.Pod = *e.want // what it was, but its packets go through the node's firewall again
			d.Pod.HandOver, d.Reason = false, reason
			r.want(d)
		case d.Verdict == Keep && e != nil && e.want != nil:
			e.reason, e.starting = d.Reason, false // and it stays what it was
		case d.Verdict == Keep && e != nil && e.reason == adopted:
		default:
			if e != nil && d.Verdict == Leave {
				r.unwant(d.Pod.UID, e, true, d.Reason)
			}
			r.left = append(r.left, d)
		}
	}
	for uid, e := range r.entries {
		if !named[uid] && complete && !e.starting {
			r.unwant(uid, e, false, "is gone")
		}
	}
	if complete {
		maps.DeleteFunc(r.stopped, func(uid string, _ bool) bool { return !named[uid] })
	}
	r.tellLeft()
	r.count()
}

// want makes an entry for a pod. r.mu is held.
func (r *Reconciler) want(d Decision) {
	e := r.entries[d.Pod.UID]
	if e == nil {
		e = &entry{}
		r.entries[d.Pod.UID] = e
	}
	e.reason, e.starting, e.shown = d.Reason, false, true
	if e.want == nil {
		e.since = r.o.Clock.Now()
	} else if e.want.equal(d.Pod) {
		return
	}
	p := d.Pod
	e.want, e.runs, e.attempts = &p, true, 0
	r.queue.add(p.UID)
}

// unwant has a pod taken off. r.mu is held.
func (r *Reconciler) unwant(uid string, e *entry, runs bool, reason string) {
	news := e.want != nil || e.runs != runs || e.reason == adopted
	e.want, e.runs, e.reason, e.starting = nil, runs, reason, false
	if news { // otherwise its turn comes after a pause
		e.attempts = 0
		r.queue.add(uid)
	}
}

// Events are what the zds.Agent has to tell.
func (r *Reconciler) Events() zds.Events {
	return zds.Events{
		Connected: func(p zds.Peer) {
			err := r.o.Admitter.Admit(p) // before it hears of any pod
			if err != nil {
				r.log.Error("this ztunnel cannot be used", zap.Stringer("ztunnel", p), zap.Error(err))
			}
			r.mu.Lock()
			r.admitted[p.ID] = err
			r.mu.Unlock()
			r.o.Metrics.connected(1)
		},
		Added: func(p zds.Peer, pod zds.Pod, err error) { r.answered(p, pod.UID, err) },
		Synced: func(p zds.Peer) {
			r.log.Info("ztunnel knows all pods", zap.Stringer("ztunnel", p))
			r.wakeAll() // pods whose attempt failed while none was connected
		},
		Gone: func(p zds.Peer, _ error) {
			r.o.Admitter.Gone(p)
			r.mu.Lock()
			delete(r.admitted, p.ID)
			r.mu.Unlock()
			r.o.Metrics.connected(-1)
			r.wakeAll() // another one may still be there
		},
	}
}

// answered notes a ztunnel's answer for a pod on the list.
func (r *Reconciler) answered(p zds.Peer, uid string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries[uid]
	if e == nil {
		return
	}
	if err != nil {
		r.failed(uid, e, err)
		return
	}
	e.acked, e.attempts = p.ID, 0
	r.queue.add(uid)
}

func (r *Reconciler) wakeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.decided {
		return
	}
	for uid := range r.entries {
		r.queue.add(uid)
	}
}

// Prime tells the proxy all wanted pods. Call it after the first Set, before the ztunnels are let in.
func (r *Reconciler) Prime(p Proxy) {
	r.proxy = p
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.entries {
		if e.want == nil {
			continue
		}
		cookie, err := r.list(*e.want)
		if err != nil {
			r.log.Warn("pod is only to be kept for now", zap.String("pod", e.want.Key()), zap.Error(err))
		}
		e.listed = listing{cookie, e.want.ServiceAccount}
	}
}

// list puts a pod on the list, without a namespace if that cannot be opened.
func (r *Reconciler) list(p Pod) (cookie uint64, err error) {
	entry := zds.Pod{UID: p.UID, Info: infoOf(p)}
	ns, err := r.o.Open(p)
	if err == nil {
		defer ns.Close()
		if entry.Netns, err = ns.File(); err == nil {
			defer entry.Netns.Close()
			cookie = ns.Cookie()
		}
	}
	return cookie, errors.Join(err, r.proxy.List(entry))
}

func infoOf(p Pod) zds.WorkloadInfo {
	return zds.WorkloadInfo{Name: p.Name, Namespace: p.Namespace, ServiceAccount: p.ServiceAccount}
}

// Run works until ctx ends. What is captured then stays captured.
func (r *Reconciler) Run(ctx context.Context) {
	stop := context.AfterFunc(ctx, r.queue.close)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	for range r.o.Workers {
		wg.Go(func() {
			for {
				uid, ok := r.queue.get()
				if !ok {
					return
				}
				r.work(ctx, uid)
				r.queue.done(uid)
			}
		})
	}
	for tick := make(chan struct{}, 1); ; {
		r.wakeAll()
		stop := r.o.Clock.AfterFunc(r.o.Resync, func() { tick <- struct{}{} })
		select {
		case <-ctx.Done():
			stop()
			return
		case <-tick:
		}
	}
}
