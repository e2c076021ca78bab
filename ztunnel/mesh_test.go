package ztunnel_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/memory"
	"github.com/weftmesh/weft/ztunnel/state"
)

// mesh is a small world with a real CA and, on each of two nodes, a real ztunnel.
type mesh struct {
	*world
	authority *ca.Authority
	nodes     map[string]*node
	pods      map[string]*fakePod
}

type node struct {
	*ztunnel.Ztunnel
	certs  *ca.Manager
	log    *logBuffer
	memory atomic.Int64 // in use, of 1000 MiB
}

// logBuffer holds an access log while others write it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) records(t *testing.T) (out []map[string]any) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.b.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// issuer signs without a network.
type issuer struct{ *ca.Authority }

func (i issuer) Issue(_ context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	return i.Sign(csr, id, ttl)
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return newMeshOf(t, a)
}

func newMeshOf(t *testing.T, a *ca.Authority) *mesh {
	t.Helper()
	m := &mesh{world: newWorld(t), authority: a, nodes: map[string]*node{}, pods: map[string]*fakePod{}}
	for _, name := range []string{"n1", "n2"} {
		m.nodes[name] = m.ztunnel(name)
	}
	return m
}

// ztunnel starts one for a node, without pods.
func (m *mesh) ztunnel(name string) *node {
	n := &node{certs: ca.NewManager(ca.ManagerOptions{Issuer: issuer{m.authority}}), log: &logBuffer{}}
	budget := memory.New(memory.Options{Limit: 1000 << 20, Use: n.memory.Load})
	n.Ztunnel = ztunnel.New(ztunnel.Options{Node: name, Certificates: n.certs, Sockets: sockets, Shards: shards, Memory: budget,
		AccessLog: telemetry.NewAccessLog(n.log, telemetry.FormatJSON), Log: zap.NewNop()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	m.t.Cleanup(func() {
		gone, stop := context.WithCancel(context.Background())
		stop()
		n.Drain(gone)
		cancel()
		<-done
		n.certs.Close()
	})
	return n
}

// enrol makes a pod and adds it to its node. Its name is <service account>-<n>.
func (m *mesh) enrol(nodeName, name string, addrs ...string) *fakePod {
	m.t.Helper()
	p := m.pod(addrs...)
	m.pods[name] = p
	sa := name[:strings.LastIndexByte(name, '-')]
	if err := m.nodes[nodeName].Pods.Add("uid-"+name, inpod.Info{Name: name, Namespace: "shop", ServiceAccount: sa}, m.netnsFile(p)); err != nil {
		m.t.Fatal(err)
	}
	return p
}

func workload(nodeName, name string, addrs ...string) *model.Workload {
	w := &model.Workload{UID: "c//Pod/shop/" + name, Name: name, Namespace: "shop", ServiceAccount: name[:strings.LastIndexByte(name, '-')],
		TrustDomain: "cluster.local", Node: nodeName, Protocol: model.HBONE, CanonicalName: name[:strings.LastIndexByte(name, '-')],
		CanonicalRev: "v1", OwnerName: name[:strings.LastIndexByte(name, '-')], OwnerKind: "deployment", Services: map[string][]model.Port{}}
	for _, a := range addrs {
		w.Addresses = append(w.Addresses, netip.MustParseAddr(a))
	}
	return w
}

func service(name, vip string, target uint16, pods ...*model.Workload) *model.Service {
	s := &model.Service{Name: name, Namespace: "shop", Hostname: model.ServiceHostname(name, "shop", "cluster.local"),
		Addresses: []netip.Addr{netip.MustParseAddr(vip)}, Ports: []model.Port{{ServicePort: 80, TargetPort: target}}}
	for _, w := range pods {
		w.Services[s.Key()] = s.Ports
	}
	return s
}

func (m *mesh) apply(d state.Delta) {
	for _, n := range m.nodes {
		n.State.Apply(d)
		n.State.SetSynced()
	}
}

// shop is frontend on n1 and cart on n2, with services; cart echoes on port 8080.
func shop(t *testing.T) *mesh {
	t.Helper()
	m := newMesh(t)
	m.shop()
	return m
}

func (m *mesh) shop() {
	m.t.Helper()
	m.serve("10.244.2.1:8080", echo)
	m.enrol("n1", "front-1", "10.244.1.1", "fd00:244:1::1")
	m.enrol("n2", "cart-1", "10.244.2.1", "fd00:244:2::1")
	front, cart := workload("n1", "front-1", "10.244.1.1", "fd00:244:1::1"), workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1")
	m.apply(state.Delta{Workloads: []*model.Workload{front, cart}, Services: []*model.Service{
		service("front", "10.96.0.1", 8080, front), service("cart", "10.96.0.2", 8080, cart)}})
}

// say writes to an echo and reads it back.
func say(c *net.TCPConn, text string) (string, error) {
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	b := make([]byte, len(text))
	_, err := io.ReadFull(c, b)
	return string(b), err
}

// refused reports that c was reset before anything came.
func refused(t *testing.T, c *net.TCPConn, within time.Duration) {
	t.Helper()
	start := time.Now()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("want a reset, got %v", err)
	}
	if d := time.Since(start); d > within {
		t.Logf("refused only after %v, wanted %v", d, within)
		if d > max(5*within, 15*time.Second) { // a loaded machine is no failure, a timeout is
			t.Error("that is too late")
		}
	}
}

// metric is the sum of a metric's series.
func metric(t *testing.T, n *node, name string) (sum float64) {
	t.Helper()
	families, err := n.Metrics.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
		return sum
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// until polls a condition.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not reached: %s", what)
		}
	}
}

// record waits for a line of the access log and returns the first in which all of want hold.
func (n *node) record(t *testing.T, want map[string]any) map[string]any {
	t.Helper()
	var found map[string]any
	until(t, "access log line", func() bool {
	next:
		for _, r := range n.log.records(t) {
			for k, v := range want {
				if r[k] != v {
					continue next
				}
			}
			found = r
			return true
		}
		return false
	})
	return found
}
