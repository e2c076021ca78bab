package main

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds"
	"github.com/weftmesh/weft/waypoint/translate"
)

// pipeline is what happens at every change: compile, sign for the new pods, publish to the waypoints and
// then to the ztunnels (who must not send to a waypoint what it does not serve yet), write status.
type pipeline struct {
	c       config
	log     *zap.Logger
	nodes   *ca.NodePolicy
	xds     *xds.Server
	metrics metrics
	latest  atomic.Pointer[model.Snapshot]
	nacks   chan xds.NACK

	mu        sync.Mutex // protects all below
	waypoints map[string]*deployed
	status    []controller.Status
	problems  []source.Problem
	refusals  map[string][]translate.Problem // by waypoint
	written   map[string]string              // status files as last written, by path
}

func newPipeline(c config, nodes *ca.NodePolicy, reg prometheus.Registerer, log *zap.Logger) *pipeline {
	return &pipeline{
		c: c, log: log, nodes: nodes, metrics: newMetrics(reg), nacks: make(chan xds.NACK, 256),
		waypoints: map[string]*deployed{}, refusals: map[string][]translate.Problem{}, written: map[string]string{},
	}
}

// changed is called by the source, never twice at a time.
func (p *pipeline) changed(objs *source.Objects, problems []source.Problem) {
	start := time.Now()
	snap, status := controller.Compile(objs, controller.Config{TrustDomain: p.c.trustDomain, ClusterDomain: p.c.clusterDomain})
	p.latest.Store(snap)
	p.nodes.SetSnapshot(snap)
	p.mu.Lock()
	p.logNew(problems)
	p.status, p.problems = status, problems
	p.mu.Unlock()
	p.setWaypoints(objs, snap)
	p.xds.SetSnapshot(snap)
	p.writeStatus()
	p.metrics.observe(time.Since(start), objs.Count(), problems)
	p.log.Debug("published", zap.Duration("took", time.Since(start)), zap.Int("objects", objs.Count()),
		zap.Int("workloads", len(snap.Workloads)), zap.Int("services", len(snap.Services)), zap.Int("problems", len(problems)))
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
	p.metrics.nacks.Inc()
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
			p.mu.Lock()
			w := p.waypoints[key]
			p.mu.Unlock()
			if w == nil {
				continue
			}
			if err := w.iso.Nack(n.TypeURL, n.Version, n.Detail); err != nil {
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
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.waypoints {
		w.iso.Close()
	}
}
