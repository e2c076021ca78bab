// Package ztunnel is the node's proxy: it carries the connections of every enrolled pod of its node.
//
//	agent ──ZDS──► inpod.Manager ──► listeners in each pod's namespace
//	                                   ├─ 15001 outbound.Handler ─► tunnel, plain, own application
//	                                   ├─ 15006 inbound.Handler.Plaintext ─► application
//	                                   ├─ 15008 inbound.Handler.Tunnelled ─► application
//	                                   └─ 15053 dns.Server
//	controller ──xDS──► state.State: lookups, policies, what changed
//	direct.Table: pods of this node that may talk without us, where the agent has that set up
//	flow.Table: every live connection; metrics and access log; cut when policy changes
//
// Everything is refused until the first configuration is there, and whatever is not known to be allowed
// stays refused. Folders below are the parts, each with its own manual; this package joins them. Wiring to
// sockets, controller and agent is the program's (cmd/weft-ztunnel).
package ztunnel

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/internal/version"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/pkg/telemetry/spans"
	"github.com/weftmesh/weft/ztunnel/direct"
	"github.com/weftmesh/weft/ztunnel/dns"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/health"
	"github.com/weftmesh/weft/ztunnel/inbound"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/memory"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/state"
	"github.com/weftmesh/weft/ztunnel/tunnel"
)

// Options of New.
type Options struct {
	// Node that this ztunnel serves. Required.
	Node string
	// TrustDomain of the pods. Empty: cluster.local.
	TrustDomain string
	// ClusterDomain of service names. Empty: cluster.local.
	ClusterDomain string
	// Certificates of the pods' identities. Required.
	Certificates *ca.Manager
	// CertificateTimeout is how long a new pod waits for its first certificate. 0: 10 s.
	CertificateTimeout time.Duration
	// Sockets makes sockets in a network namespace that the agent sent. nil: the kernel's.
	Sockets func(*os.File) (inpod.Sockets, error)
	// Metrics of the process. nil: new ones with default names.
	Metrics *telemetry.Metrics
	// AccessLog gets a line per connection. nil: none.
	AccessLog *telemetry.AccessLog
	// Spans get one of each connection whose trace is recorded; Run sends them. nil: none.
	Spans *spans.Exporter
	// TracePercentage of the connections that come without a trace begin a recorded one.
	TracePercentage float64
	// DNSUpstream is asked for names outside the mesh. Zero: the name server that the pod asked.
	DNSUpstream netip.AddrPort
	// DNSAuthoritative answers NXDOMAIN for unknown service names instead of asking upstream: right where
	// the controller knows every service of the cluster.
	DNSAuthoritative bool
	// Shards drive the tunnels; they are closed by their owner, after the drain. nil: crypto/tls and goroutines do.
	Shards *hbone.Shards
	// Direct gets the kernel's maps of the direct path from the agent, when it is this ztunnel's turn; see pkg/direct.
	// nil: everything goes by the proxies.
	Direct func(context.Context) (direct.Kernel, io.ReadCloser, error)
	// Memory that this ztunnel may have; Run watches it. nil: no limit.
	Memory *memory.Budget
	// Log; nil: none.
	Log *zap.Logger
}

// Ztunnel is one node's proxy.
type Ztunnel struct {
	State   *state.State
	Flows   *flow.Table
	Pods    *inpod.Manager
	Metrics *telemetry.Metrics
	// Health of the node's pods, as their services want it checked.
	Health *health.Prober

	o       Options
	direct  *direct.Table // nil: none
	tunnels *tunnel.Factory
	mu      sync.Mutex // protects what follows
	drained bool
	ready   bool // was, once
}

// New puts the parts together. Nothing runs before Run.
func New(o Options) *Ztunnel {
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if o.TrustDomain == "" {
		o.TrustDomain = identity.DefaultTrustDomain
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Metrics == nil {
		o.Metrics = telemetry.NewMetrics(telemetry.Options{})
	}
	if o.Sockets == nil {
		o.Sockets = inpod.KernelSockets
	}
	z := &Ztunnel{o: o, State: state.New(o.Node), Metrics: o.Metrics}
	z.Flows = flow.NewTable(flow.TableOptions{Metrics: o.Metrics, Log: o.AccessLog, Spans: o.Spans, TracePercentage: o.TracePercentage})
	if o.Direct != nil {
		z.direct = direct.New(direct.Options{State: z.State, Flows: z.Flows, Take: o.Direct, Ready: z.Ready, Log: o.Log,
			Pairs: o.Metrics.CounterVec("direct_pairs_total", "Pairs of pods of this node, and port, that the kernel was told to let talk directly, and those that it was told not to any more.", "change")})
	}
	z.tunnels = tunnel.NewFactory(tunnel.Options{Certificates: o.Certificates, Metrics: o.Metrics, Shards: o.Shards, Log: o.Log})
	pods := inpod.Options{
		State: z.State, Flows: z.Flows, Certificates: o.Certificates, Sockets: o.Sockets, TrustDomain: o.TrustDomain, CertificateTimeout: o.CertificateTimeout,
		Tunnel: func(p *pod.Pod, handle func(context.Context, inbound.Connect)) inpod.Tunnel {
			return z.tunnels.For(p, handle)
		},
		Acceptor:    inpod.NewAcceptor(o.Log, o.Metrics.Counter("accept_failures_total", "Failed accepts on the pods' listeners.")),
		Zone:        &dns.Zone{Names: z.State, ClusterDomain: o.ClusterDomain, Authoritative: o.DNSAuthoritative},
		Retries:     o.Metrics.Counter("outbound_retries_total", "Connections offered to another endpoint because no tunnel to the one before could be made."),
		Faults:      o.Metrics.CounterVec("faults_injected_total", "What Faults did to connections at their caller's node: delay, refuse, reset, bandwidth.", "fault", "kind"),
		Ejections:   o.Metrics.CounterVec("endpoint_ejections_total", "Endpoints taken out of the choice for a while because they could not be connected to.", "service"),
		DNSUpstream: o.DNSUpstream, DNSMetrics: &o.Metrics.DNS, Refusal: o.Memory.Refusal, Log: o.Log,
	}
	if z.direct != nil {
		pods.Direct = z.direct
	}
	z.Pods = inpod.NewManager(pods)
	z.Health = health.New(health.Options{State: z.State, Pods: z.Pods.List, Log: o.Log})
	o.Metrics.GaugeFunc("pods_unhealthy", "Pods of this node that fail a health check of their service.", func() float64 {
		uids, _ := z.Health.Unhealthy()
		return float64(len(uids))
	})
	o.Metrics.GaugeFunc("ztunnel_pods", "Enrolled pods served by this ztunnel.", func() float64 { return float64(z.Pods.Pods()) })
	o.Metrics.GaugeFunc("ztunnel_workloads", "Workloads of the mesh that this ztunnel has been told of.", func() float64 { return float64(z.State.Index.Counts().Workloads) })
	o.Metrics.GaugeFunc("ztunnel_services", "Services that this ztunnel has been told of.", func() float64 { return float64(z.State.Index.Counts().Services) })
	o.Metrics.GaugeFunc("ztunnel_policies", "Policies that this ztunnel has been told of.", func() float64 { return float64(z.State.Index.Counts().Policies) })
	o.Metrics.GaugeFunc("endpoints_ejected", "Endpoints that are out of the choice now, each service's apart.", func() float64 { return float64(z.State.Ejected()) })
	o.Metrics.CounterFunc("access_log_lost_total", "Access log lines that could not be written.", func() float64 { return float64(o.AccessLog.Lost()) })
	o.Metrics.CounterFunc("spans_sent_total", "Spans that the collector took.", func() float64 { return float64(o.Spans.Sent()) })
	o.Metrics.CounterFunc("spans_dropped_total", "Spans that were not sent: too many waited, or the collector was away or refused them.",
		func() float64 { return float64(o.Spans.Dropped()) })
	return z
}

// Run keeps connections in step with the configuration until ctx ends.
func (z *Ztunnel) Run(ctx context.Context) {
	go z.Metrics.Run(ctx)
	go z.Health.Run(ctx)
	if z.o.Memory != nil {
		go z.o.Memory.Run(ctx)
	}
	if z.direct != nil {
		go z.direct.Run(ctx)
	}
	sent := make(chan struct{})
	go func() { defer close(sent); z.o.Spans.Run(ctx) }()
	revise(ctx, z.State, z.Flows)
	<-sent
}

// Retire gives new streams of all pods new tunnel connections, and returns how many old ones end with their streams: for
// who has reason not to trust those that live.
func (z *Ztunnel) Retire() int { return z.tunnels.Retire() }

// Revise decides again on every connection that policy governs, and cuts those that are forbidden now.
func (z *Ztunnel) Revise() { reviseOnce(z.State, z.Flows) }

// Drain stops taking connections and lets those that live go on until ctx ends; then they are cut.
func (z *Ztunnel) Drain(ctx context.Context) {
	z.mu.Lock()
	z.drained = true
	z.mu.Unlock()
	if z.direct != nil {
		z.direct.Release() // to a successor, if there is one
	}
	z.Pods.Drain(ctx)
}

// Ready returns nil once traffic can be carried, else what is missing.
func (z *Ztunnel) Ready() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	switch {
	case z.drained:
		return errors.New("draining")
	case !z.State.Synced():
		return errors.New("no configuration from the controller yet")
	case !z.ready && !z.Pods.Told():
		return errors.New("the node's agent has not handed over its pods yet: is weft-agent running and ready on this node?")
	}
	z.ready = true // stays so: pods live on while an agent is away
	return nil
}

// Dump is what the admin page shows.
func (z *Ztunnel) Dump() map[string]any {
	ways := []direct.View{}
	if z.direct != nil {
		ways = z.direct.Views()
	}
	return map[string]any{
		"direct": ways, "version": version.Version, "commit": version.Commit(), "node": z.o.Node, "trustDomain": z.o.TrustDomain,
		"clusterDomain": z.o.ClusterDomain, "synced": z.State.Synced(), "pods": z.Pods.Views(),
		"workloads": z.State.Workloads(), "services": z.State.Services(), "policies": z.State.Policies(),
		"certificates": z.o.Certificates.List(), "connections": z.Flows.Views(),
	}
}
