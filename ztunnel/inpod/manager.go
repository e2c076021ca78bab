// Package inpod runs a proxy for every pod that the agent enrols on this node.
//
// The agent hands over the pod's network namespace; Manager.Add returns when the pod's certificate is
// there and its listeners are up, so that nothing is steered to a proxy that cannot serve it. A pod that
// is deleted takes its connections with it. When the agent connects anew it lists its pods, by Add or
// Keep, then says Snapshot: pods that it did not list are gone.
package inpod

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/dns"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/inbound"
	"github.com/weftmesh/weft/ztunnel/outbound"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/state"
)

// Certificates keeps certificates of the identities in use: a *ca.Manager.
type Certificates interface {
	// Acquire counts a user of id and begins to fetch; Release undoes it.
	Acquire(id identity.Identity)
	Release(id identity.Identity)
	// Certificate returns when a valid one is there.
	Certificate(ctx context.Context, id identity.Identity) (*ca.Cert, error)
}

// Options of a Manager. All fields without a default are required.
type Options struct {
	State        *state.State
	Flows        *flow.Table
	Certificates Certificates
	// Tunnel makes a pod's end of HBONE. It calls handle for every CONNECT, each on a goroutine of its own.
	Tunnel func(p *pod.Pod, handle func(context.Context, inbound.Connect)) Tunnel
	// Sockets makes sockets in a namespace that the agent sent. It keeps its own duplicate of the file.
	Sockets func(*os.File) (Sockets, error)
	// Acceptor of the process.
	Acceptor *Acceptor
	// CertificateTimeout is how long Add waits for the first certificate of an identity. 0: 10 s.
	CertificateTimeout time.Duration
	// TrustDomain of the pods' identities. Empty: cluster.local.
	TrustDomain string
	// Zone answers DNS questions.
	Zone *dns.Zone
	// DNSUpstream is asked instead of the name server that a pod names. Zero: that one.
	DNSUpstream netip.AddrPort
	// DNSMetrics count questions. nil: nobody does.
	DNSMetrics *telemetry.DNSMetrics
	// Retries counts connections that were offered to another endpoint. nil: nobody does.
	Retries prometheus.Counter
	// Ejections counts endpoints that were ejected because they could not be connected to, by service. nil: nobody does.
	Ejections *prometheus.CounterVec
	// Faults counts what Faults did to connections, by fault and kind. nil: nobody does.
	Faults *prometheus.CounterVec
	// Direct is told of the pods, and of connections whose like may go past the proxies. nil: none may.
	Direct Direct
	// Refusal is why no connection may be added now, of whichever pod. nil: never.
	Refusal func() *flow.Failure
	// Log; nil: none.
	Log *zap.Logger
}

// Direct is the direct path of this node's pods.
type Direct interface {
	outbound.Direct
	Joined(*pod.Pod)
	Left(*pod.Pod)
}

// Manager holds the proxies. Its methods are safe for concurrent use.
type Manager struct {
	o Options

	mu       sync.Mutex // protects what follows; held while a pod starts, so that calls for it queue
	pods     map[string]*proxy
	listed   map[string]bool // pods named since the agent connected
	missing  map[string]bool // pods that the agent says are here, and are not: it will send them
	told     bool            // an agent has said its whole list
	draining bool
}

// NewManager makes an empty manager.
func NewManager(o Options) *Manager {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.TrustDomain == "" {
		o.TrustDomain = identity.DefaultTrustDomain
	}
	if o.CertificateTimeout <= 0 {
		o.CertificateTimeout = 10 * time.Second
	}
	return &Manager{o: o, pods: map[string]*proxy{}, listed: map[string]bool{}, missing: map[string]bool{}}
}

// Info is who the agent says a pod is.
type Info struct{ Name, Namespace, ServiceAccount string }

// Add starts a pod's proxy, or keeps the one that runs in the same namespace under the same identity.
func (m *Manager) Add(uid string, info Info, ns *os.File) error {
	if ns == nil {
		return fmt.Errorf("pod %s/%s: the agent sent no network namespace", info.Namespace, info.Name)
	}
	defer m.came(uid) // also if it fails: one pod's trouble is not the whole node's
	sockets, err := m.o.Sockets(ns)
	if err != nil {
		return fmt.Errorf("pod %s/%s: %w", info.Namespace, info.Name, err)
	}
	id := identity.Identity{TrustDomain: m.o.TrustDomain, Namespace: info.Namespace, ServiceAccount: info.ServiceAccount}
	// The certificate is fetched outside of the lock: one slow identity must not hold up other pods.
	if err := m.acquire(id); err != nil {
		m.discard(sockets, id)
		return fmt.Errorf("pod %s/%s: certificate of %s is not ready: %w", info.Namespace, info.Name, id, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.draining {
		m.discard(sockets, id)
		return fmt.Errorf("pod %s/%s: this ztunnel is stopping; its successor will take the pod", info.Namespace, info.Name)
	}
	m.listed[uid] = true
	if old := m.pods[uid]; old != nil {
		if old.sockets.Same(sockets) && old.pod.Identity == id {
			m.discard(sockets, id)
			return nil
		}
		m.remove(uid)
	}
	pd := &pod.Pod{UID: uid, Namespace: info.Namespace, Name: info.Name, Identity: id, Network: sockets, State: m.o.State, Refusal: m.o.Refusal}
	if s, ok := sockets.(interface{ Space() pod.Space }); ok {
		pd.Space = s.Space()
	}
	p := m.proxy(pd, sockets)
	if err := p.start(m.o.Acceptor); err != nil {
		p.tunnel.Close()
		m.discard(sockets, id)
		return fmt.Errorf("pod %s/%s: %w", info.Namespace, info.Name, err)
	}
	m.pods[uid] = p
	if m.o.Direct != nil {
		m.o.Direct.Joined(pd)
	}
	m.o.Log.Info("pod joined", zap.String("pod", p.pod.Key()), zap.String("uid", uid), zap.Stringer("identity", id))
	return nil
}

// came notes that the agent has sent a pod.
func (m *Manager) came(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.missing, uid)
}

func (m *Manager) acquire(id identity.Identity) error {
	ctx, cancel := context.WithTimeout(context.Background(), m.o.CertificateTimeout)
	defer cancel()
	m.o.Certificates.Acquire(id)
	_, err := m.o.Certificates.Certificate(ctx, id)
	return err
}

func (m *Manager) discard(s Sockets, id identity.Identity) {
	s.Close()
	m.o.Certificates.Release(id)
}

func (m *Manager) proxy(pd *pod.Pod, sockets Sockets) *proxy {
	p := &proxy{pod: pd, sockets: sockets, flows: m.o.Flows, log: m.o.Log}
	p.names = dns.NewServer(dns.ServerOptions{Zone: m.o.Zone, Namespace: pd.Namespace, Dial: p.dialDNS,
		Upstream: m.o.DNSUpstream, Metrics: m.o.DNSMetrics, Log: m.o.Log})
	p.in = inbound.New(inbound.Options{Pod: pd, Flows: m.o.Flows, Log: m.o.Log})
	p.tunnel = m.o.Tunnel(pd, p.in.Tunnelled)
	p.out = outbound.New(outbound.Options{Pod: pd, Flows: m.o.Flows, Tunnels: p.tunnel, Direct: m.o.Direct, Retries: m.o.Retries, Faults: m.o.Faults, Ejections: m.o.Ejections, Log: m.o.Log,
		DNS: func(ctx context.Context, c relay.Conn, to netip.AddrPort) { p.names.ServeConn(ctx, net.Conn(c), to) }})
	return p
}

// Keep says that a pod which was added before is still there.
func (m *Manager) Keep(uid string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.pods[uid] == nil {
		m.missing[uid] = true
		return fmt.Errorf("pod with uid %s was never added to this ztunnel: send its network namespace", uid)
	}
	m.listed[uid] = true
	return nil
}

// Del stops a pod's proxy and cuts its connections.
func (m *Manager) Del(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.listed, uid)
	delete(m.missing, uid)
	m.remove(uid)
}

// remove stops a proxy. m.mu is held.
func (m *Manager) remove(uid string) {
	p := m.pods[uid]
	if p == nil {
		return
	}
	delete(m.pods, uid)
	if m.o.Direct != nil {
		m.o.Direct.Left(p.pod)
	}
	p.close(flow.PodGone())
	m.o.Certificates.Release(p.pod.Identity)
	m.o.Log.Info("pod left", zap.String("pod", p.pod.Key()), zap.String("uid", uid))
}

// Connected begins a new list: the agent has just connected.
func (m *Manager) Connected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.listed)
	clear(m.missing)
}

// Snapshot ends the agent's list: pods that were not on it are gone.
func (m *Manager) Snapshot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = true
	for uid := range m.pods {
		if !m.listed[uid] {
			m.remove(uid)
		}
	}
}

// Told reports whether an agent has handed over its pods. Until then a predecessor on this node is still needed.
func (m *Manager) Told() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told && len(m.missing) == 0
}

// Pods is the number of pods served.
func (m *Manager) Pods() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.pods)
}

// List are the pods served, in no order.
func (m *Manager) List() []*pod.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]*pod.Pod, 0, len(m.pods))
	for _, p := range m.pods {
		out = append(out, p.pod)
	}
	return out
}

// View is one pod as the admin page shows it.
type View struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Identity  string `json:"identity"`
	Known     bool   `json:"knownToController"`
}

// Views lists the pods served, by name.
func (m *Manager) Views() []View {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]View, 0, len(m.pods))
	for uid, p := range m.pods {
		out = append(out, View{UID: uid, Namespace: p.pod.Namespace, Name: p.pod.Name, Identity: p.pod.Identity.String(),
			Known: m.o.State.PodByKey(p.pod.Key()) != nil})
	}
	slices.SortFunc(out, func(a, b View) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return out
}

// Drain stops taking connections and returns when all have ended or ctx does; then the rest is cut.
func (m *Manager) Drain(ctx context.Context) {
	m.mu.Lock()
	m.draining = true
	for _, p := range m.pods {
		p.drain()
	}
	m.mu.Unlock()
	m.waitIdle(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, p := range m.pods {
		delete(m.pods, uid)
		p.close(flow.Draining())
		m.o.Certificates.Release(p.pod.Identity)
	}
}

func (m *Manager) waitIdle(ctx context.Context) {
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for m.o.Flows.Len() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
