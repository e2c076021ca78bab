package main

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/jwks"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/modules"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds"
	"github.com/weftmesh/weft/waypoint/deploy"
	"github.com/weftmesh/weft/waypoint/isolate"
)

// pipeline is what happens at every change: compile, sign for the new pods, publish to the waypoints and
// then to the ztunnels (see order.go), write deployments and status. That is written beside all that: while it
// cannot be, clients are served regardless.
type pipeline struct {
	c       config
	log     *zap.Logger
	nodes   *ca.NodePolicy
	xds     *xds.Server
	metrics metrics
	out     output
	nacks   chan xds.NACK
	spoken  chan struct{} // wakes follow

	publisher *publisher
	health    *xds.HealthReports // of pods, by their nodes
	keys      *jwks.Fetcher      // of token issuers
	modules   *modules.Fetcher   // of extensions

	changing sync.Mutex  // held while a change goes through; protects what follows, but for what is atomic
	wake     *time.Timer // when the objects mean something else, for a fault expires
	compile  controller.Incremental
	restate  *time.Timer // when statuses are brought up to date; nil: they are
	latest   atomic.Pointer[model.Snapshot]
	read     atomic.Pointer[source.Objects]

	mu        sync.Mutex // protects all below; an isolator calls back with its own lock held, so never call one with mu held
	waypoints map[string]*isolate.Isolator
	words     words
	compiled  []controller.Status
	problems  []source.Problem
	stamps    stamps
	reports   []objectReport
	deploys   []*deploy.Objects
}

func newPipeline(c config, nodes *ca.NodePolicy, m metrics, out output, log *zap.Logger) *pipeline {
	p := &pipeline{
		c: c, log: log, nodes: nodes, metrics: m, out: out, nacks: make(chan xds.NACK, 256), wake: time.NewTimer(0), stamps: stamps{},
		health:    xds.NewHealthReports(api.SystemNamespace+"/weft-ztunnel", nil),
		waypoints: map[string]*isolate.Isolator{}, words: newWords(), spoken: make(chan struct{}, 1),
	}
	p.publisher = newPublisher(p)
	p.keys = jwks.NewFetcher(jwks.Options{OnChange: p.again, Logger: log}) // run gives it a memory
	p.modules = modules.NewFetcher(modules.Options{OnChange: p.again, Client: c.modules, Logger: log})
	return p
}

// changed is called by the source.
func (p *pipeline) changed(objs *source.Objects, problems []source.Problem) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.keys.Watch(controller.KeyLocations(objs))
	p.modules.Watch(controller.ModuleLocations(objs))
	p.change(objs, problems)
}

// again compiles what was read last, and all of it, since something beside the objects has changed.
func (p *pipeline) again() {
	p.changing.Lock()
	defer p.changing.Unlock()
	if objs := p.read.Load(); objs != nil {
		p.mu.Lock()
		problems := p.problems
		p.mu.Unlock()
		p.compile.Forget()
		p.change(objs, problems)
	}
}

// hearHealth puts what the nodes say of their pods' health into effect.
func (p *pipeline) hearHealth(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.health.Changed():
		}
		p.again()
	}
}

// change compiles and publishes. Call with changing held.
func (p *pipeline) change(objs *source.Objects, problems []source.Problem) {
	start := time.Now()
	p.wake.Stop()
	if next := controller.NextExpiry(objs, start); !next.IsZero() {
		p.wake = time.AfterFunc(next.Sub(start), func() { p.changedAgain(objs, problems) })
	}
	out := p.compile.Compile(objs, controller.Config{TrustDomain: p.c.trustDomain, ClusterDomain: p.c.clusterDomain, Ranges: p.c.podRanges, Now: start, Keys: p.keys.States(), Modules: p.modules.Known()})
	snap := out.Snapshot
	p.health.ApplyTo(snap, out.Changes)
	p.metrics.compiled(time.Since(start), out.Changes != nil)
	p.latest.Store(snap) // first: who finds read set takes latest for granted
	before := p.read.Swap(objs)
	if out.Changes == nil {
		p.whole(objs, snap, problems)
	} else {
		p.pods(before, objs, out, problems)
	}
	p.metrics.observe(time.Since(start), objs.Count())
	p.log.Debug("published", zap.Duration("took", time.Since(start)), zap.Int("objects", objs.Count()), zap.Bool("incremental", out.Changes != nil),
		zap.Int("workloads", snap.Workloads.Len()), zap.Int("services", len(snap.Services)), zap.Int("problems", len(problems)))
}

// whole publishes what was compiled from all objects.
func (p *pipeline) whole(objs *source.Objects, snap *model.Snapshot, problems []source.Problem) {
	p.nodes.SetSnapshot(snap)
	deploys := p.deployed(objs, snap)
	p.mu.Lock()
	p.logNew(problems)
	p.problems, p.deploys = problems, deploys
	maps.Copy(p.stamps, p.out.known(objs))
	p.mu.Unlock()
	p.publisher.set(snap, nil)
	p.metrics.faults.Set(float64(len(activeFaults(snap))))
	p.state()
}

// restateAfter is how long changes of pods alone are gathered until statuses, which count them, are written.
const restateAfter = time.Second

// pods publishes what differs where nothing but pods does.
func (p *pipeline) pods(before, objs *source.Objects, out controller.Compiled, problems []source.Problem) {
	if len(out.Changes.Workloads) > 0 {
		p.nodes.Update(out.Snapshot, out.Changes)
		p.publisher.set(out.Snapshot, out.Changes)
	}
	p.mu.Lock()
	p.logNew(problems)
	told := len(p.problems)+len(problems) > 0
	p.problems = problems
	if !objs.SameButPods(before) { // in what others wrote of it
		maps.Copy(p.stamps, p.out.known(objs))
		told = true
	}
	p.mu.Unlock()
	switch {
	case slices.ContainsFunc(out.Changes.Workloads, ours):
		p.state() // the agents' readiness is for more than counting
	case (told || out.Restated) && p.restate == nil:
		p.restate = time.AfterFunc(restateAfter, p.restated)
	}
}

// ours reports whether a workload is of Weft itself.
func ours(uid string) bool { return strings.Contains(uid, "//Pod/"+api.SystemNamespace+"/") }

// state brings all statuses up to date. Call with changing held.
func (p *pipeline) state() {
	if p.restate != nil {
		p.restate.Stop()
		p.restate = nil
	}
	compiled := p.compile.Statuses()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compiled = compiled
	p.report()
}

// restated does at once what waits for restateAfter: who begins to write has seen what the writer before him wrote.
func (p *pipeline) restated() {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.restate != nil {
		p.state()
	}
}

// activeFaults are the names of the faults in force.
func activeFaults(snap *model.Snapshot) map[string]bool {
	out := map[string]bool{}
	for _, f := range snap.Faults {
		out[f.Key()] = true
	}
	for _, s := range snap.Services {
		for _, f := range s.Faults {
			out[f.Name] = true
		}
	}
	return out
}

// changedAgain compiles the same objects at a later time, unless others have taken their place.
func (p *pipeline) changedAgain(objs *source.Objects, problems []source.Problem) {
	p.changing.Lock()
	defer p.changing.Unlock()
	if p.read.Load() == objs {
		p.change(objs, problems)
	}
}

// podUID finds a pod among the objects that were read last.
func (p *pipeline) podUID(namespace, name string) (uid string, known bool) {
	objs := p.read.Load()
	if objs == nil {
		return "", false
	}
	pod := podOf(objs, namespace, name)
	if pod == nil {
		return "", false
	}
	return string(pod.UID), true
}

// podOf is nil where there is no such pod.
func podOf(objs *source.Objects, namespace, name string) *corev1.Pod {
	i, known := slices.BinarySearchFunc(objs.Pods, namespace, func(o source.Object[corev1.Pod], ns string) int {
		return cmp.Or(cmp.Compare(o.Value.Namespace, ns), cmp.Compare(o.Value.Name, name))
	})
	if !known {
		return nil
	}
	return objs.Pods[i].Value
}

// report brings the status of all objects up to date. Call with mu held.
func (p *pipeline) report() {
	objs := p.read.Load()
	if objs == nil {
		return
	}
	p.reports = reports(p.compiled, p.problems, p.words.merge(p.latest.Load(), p.hasReplica))
	p.stamps = p.stamps.apply(p.reports, metav1.NewTime(time.Now().Truncate(time.Second)))
	p.metrics.found(p.reports)
	p.out.set(wanted{objects: objs, reports: p.reports, waypoints: p.deploys})
}

// logNew tells of problems that were not there before. Call with mu held.
func (p *pipeline) logNew(problems []source.Problem) {
	known := map[string]bool{}
	for _, q := range p.problems {
		known[q.String()] = true
	}
	for _, q := range problems {
		if !known[q.String()] {
			p.log.Warn("object left as it was: " + q.String())
		}
	}
}

// refused queues a NACK; the xDS server must not wait.
func (p *pipeline) refused(n xds.NACK) {
	select {
	case p.nacks <- n:
	default:
		p.log.Error("too many refusals at once, one is not looked into", zap.String("node", n.NodeID), zap.String("detail", n.Detail))
	}
}

// hearRefusals gives NACKs of Envoys to the isolator of their waypoint.
func (p *pipeline) hearRefusals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-p.nacks:
			p.log.Warn("configuration refused by a proxy", zap.String("node", n.NodeID), zap.String("type", n.TypeURL), zap.String("detail", n.Detail))
			key, ok := waypointOf(n.NodeID)
			if !ok {
				continue
			}
			iso := p.knownIsolator(key)
			if iso == nil {
				continue
			}
			if err := iso.Nack(n.TypeURL, n.Version, n.Detail); err != nil {
				p.log.Error("search for what Envoy refuses", zap.String("waypoint", key), zap.Error(err))
			}
		}
	}
}

// waypointOf reads waypoint~<namespace>/<gateway>~<pod>.
func waypointOf(nodeID string) (string, bool) {
	parts := strings.Split(nodeID, "~")
	if len(parts) < 2 || parts[0] != "waypoint" {
		return "", false
	}
	return parts[1], true
}

func (p *pipeline) close() {
	p.changing.Lock()
	if p.restate != nil {
		p.restate.Stop()
		p.restate = nil
	}
	p.changing.Unlock()
	p.keys.Close()
	p.modules.Close()
	p.forgetWaypoints(model.NewSnapshot())
}
