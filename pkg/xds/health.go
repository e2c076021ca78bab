package xds

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/wire"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

// HealthReports is what the nodes have said. Its methods are safe for concurrent use.
type HealthReports struct {
	account string // that ztunnels have: namespace/name
	now     func() time.Time
	changed chan struct{} // holds one when Apply would do something else than the last time

	mu    sync.Mutex // protects nodes
	nodes map[string]nodeHealth
}

type nodeHealth struct {
	unhealthy []string // sorted
	until     time.Time
}

// NewHealthReports takes reports of callers with a service account, namespace/name. A nil clock is the machine's.
func NewHealthReports(account string, now func() time.Time) *HealthReports {
	if now == nil {
		now = time.Now
	}
	return &HealthReports{account: account, now: now, changed: make(chan struct{}, 1), nodes: map[string]nodeHealth{}}
}

// Register puts the service on a gRPC server, whose interceptors authenticate.
func (h *HealthReports) Register(r grpc.ServiceRegistrar) {
	r.RegisterService(&grpc.ServiceDesc{
		ServiceName: wire.HealthService, HandlerType: (*any)(nil), Metadata: "weft/v1/health.proto",
		Methods: []grpc.MethodDesc{{MethodName: "Report", Handler: func(_ any, ctx context.Context, decode func(any) error, through grpc.UnaryServerInterceptor) (any, error) {
			in := &weftv1.HealthReport{}
			if err := decode(in); err != nil {
				return nil, err
			}
			serve := func(ctx context.Context, _ any) (any, error) { return h.report(ctx, in) }
			if through == nil {
				return serve(ctx, in)
			}
			return through(ctx, in, &grpc.UnaryServerInfo{Server: h, FullMethod: "/" + wire.HealthService + "/Report"}, serve)
		}}},
	}, h)
}

// report takes a node's word for its own pods and nobody else's.
func (h *HealthReports) report(ctx context.Context, in *weftv1.HealthReport) (*weftv1.HealthAnswer, error) {
	c, ok := ca.CallerFrom(ctx)
	if !ok || c.Account() != h.account || c.Node == "" || c.Node != in.GetNode() {
		return nil, grpcstatus.Errorf(codes.PermissionDenied, "%s may not report health of node %q: its ztunnel does, with a token bound to that node", c, in.GetNode())
	}
	unhealthy := slices.Sorted(slices.Values(in.GetUnhealthy()))
	h.mu.Lock()
	defer h.mu.Unlock()
	if !slices.Equal(h.nodes[c.Node].unhealthy, unhealthy) {
		h.notify()
	}
	if len(unhealthy) == 0 {
		delete(h.nodes, c.Node)
	} else {
		h.nodes[c.Node] = nodeHealth{unhealthy, h.now().Add(wire.HealthLife)}
	}
	return &weftv1.HealthAnswer{}, nil
}

func (h *HealthReports) notify() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// Changed holds a value when Apply would do something else than before.
func (h *HealthReports) Changed() <-chan struct{} { return h.changed }

// Run forgets nodes that say nothing more, until ctx ends.
func (h *HealthReports) Run(ctx context.Context) {
	t := time.NewTicker(wire.HealthLife / 6)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			h.Expire()
		}
	}
}

// Expire forgets nodes that have said nothing for wire.HealthLife.
func (h *HealthReports) Expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for node, n := range h.nodes {
		if !h.now().Before(n.until) {
			delete(h.nodes, node)
			h.notify()
		}
	}
}

// Apply marks the workloads that fail a health check as unhealthy, in a snapshot that nobody else has yet. Of what a
// node says only its own workloads count, and of these those that a service checks.
func (h *HealthReports) Apply(s *model.Snapshot) { h.ApplyTo(s, nil) }

// ApplyTo is Apply where workloads of a snapshot are new, by uid, and others have the rest already: in it nothing is
// changed. With nil all are new.
func (h *HealthReports) ApplyTo(s *model.Snapshot, what *model.Changes) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mark := func(uid, node string) {
		if w := s.Workloads.Get(uid); w != nil && w.Node == node && probed(s, w) {
			w.Unhealthy = true
		}
	}
	if what == nil {
		for node, n := range h.nodes {
			for _, uid := range n.unhealthy {
				mark(uid, node)
			}
		}
		return
	}
	for _, uid := range what.Workloads {
		if w := s.Workloads.Get(uid); w != nil {
			if _, ill := slices.BinarySearch(h.nodes[w.Node].unhealthy, uid); ill {
				mark(uid, w.Node)
			}
		}
	}
}

func probed(s *model.Snapshot, w *model.Workload) bool {
	for key := range w.Services {
		if v := s.Services[key]; v != nil && len(v.Probes) > 0 {
			return true
		}
	}
	return false
}
