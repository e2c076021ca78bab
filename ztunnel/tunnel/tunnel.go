// Package tunnel joins pods to HBONE: package hbone with the pods' certificates and network namespaces.
//
// A pod has one server and shares nothing of it with other pods, so that its end takes all its streams
// along. Streams that it opens run over connections that only it uses: they begin in its namespace, under
// its identity. Failures come back as *flow.Failure, in words for the access log.
package tunnel

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"sync"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/inbound"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// Options of NewFactory.
type Options struct {
	// Certificates of the pods. Required.
	Certificates *ca.Manager
	// Metrics count tunnel connections. Required.
	Metrics *telemetry.Metrics
	// Shards drive the tunnels. nil: crypto/tls and goroutines do.
	Shards *hbone.Shards
	// Limits of connections; the zero value takes the defaults.
	Limits hbone.Limits
	// Log; nil: none.
	Log *zap.Logger
}

// Factory makes tunnels of pods.
type Factory struct {
	o      Options
	events hbone.Events

	mu  sync.Mutex // protects all
	all map[*Tunnel]struct{}
}

// NewFactory makes a factory and registers its metrics.
func NewFactory(o Options) *Factory {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	watch(o.Metrics, o.Shards)
	return &Factory{o: o, events: events(o.Metrics, o.Log), all: map[*Tunnel]struct{}{}}
}

// Retire lets the streams of all connections that pods have opened end, and opens no more on them; it returns how
// many connections that were. The next stream to a destination makes a new one.
func (f *Factory) Retire() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for t := range f.all {
		n += t.pool.Retire(func(hbone.Key) bool { return true })
	}
	return n
}

// Handle answers a CONNECT.
type Handle func(context.Context, inbound.Connect)

// Tunnel is one pod's end of HBONE. It is an inpod.Tunnel.
type Tunnel struct {
	f      *Factory
	p      *pod.Pod
	server *hbone.Server
	pool   *hbone.Pool
	header headerCache
	cert   certificate
}

// For makes the tunnel of a pod, which gives every CONNECT that comes in to handle.
func (f *Factory) For(p *pod.Pod, handle Handle) *Tunnel {
	t := &Tunnel{f: f, p: p}
	cfg := f.o.Certificates.ServerTLS(p.Identity)
	t.server = hbone.NewServer(hbone.ServerOptions{
		TLS:     func(context.Context, net.Conn) (*tls.Config, error) { return cfg, nil },
		Handler: func(ctx context.Context, r *hbone.Request) { serve(ctx, r, handle) },
		Vouch:   t.vouch, Shards: f.o.Shards, Limits: f.o.Limits, Log: f.o.Log, Events: &f.events,
	})
	t.pool = f.pool(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all[t] = struct{}{}
	return t
}

// Serve speaks HBONE on an accepted connection until it ends. It closes c.
func (t *Tunnel) Serve(ctx context.Context, c net.Conn) {
	// How handshakes fail is counted by the events.
	_ = t.server.ServeConn(ctx, c)
}

// Drain tells all peers to open no more streams here; those that live go on.
func (t *Tunnel) Drain() { go func() { _ = t.server.Shutdown(context.Background()) }() }

// Close cuts what is left, and returns when no stream is served any more.
func (t *Tunnel) Close() {
	t.f.mu.Lock()
	delete(t.f.all, t)
	t.f.mu.Unlock()
	t.server.Close()
	t.pool.Close()
}

func serve(ctx context.Context, r *hbone.Request, handle Handle) {
	id, err := identity.Parse(r.PeerID)
	if err != nil { // the handshake has verified it; this is the second lock on the door
		_ = r.Reject(401, "caller has no identity of the mesh", nil)
		return
	}
	handle(ctx, connect{r, id})
}

// connect is an inbound.Connect.
type connect struct {
	r  *hbone.Request
	id identity.Identity
}

func (c connect) Authority() string         { return c.r.Authority }
func (c connect) Header(name string) string { return c.r.Header.Get(name) }
func (c connect) Peer() (identity.Identity, netip.AddrPort) {
	return c.id, c.r.Remote
}

func (c connect) Accept() (inbound.Stream, error) {
	s, err := c.r.Accept(nil)
	if err != nil {
		return nil, err
	}
	return accepted{s}, nil
}

func (c connect) Refuse(status int, reason string) {
	// It fails only when the caller has gone, who then needs no answer.
	_ = c.r.Reject(status, reason, nil)
}

// accepted is an inbound.Stream.
type accepted struct{ s *hbone.Stream }

func (a accepted) Start(app relay.Conn, f *flow.Flow, done func(error)) {
	a.s.Start(context.Background(), app, splicing(f, false), func(err error) { done(broken(err, false)) })
}

func (a accepted) Reset() { a.s.Reset() }
