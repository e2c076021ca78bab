package direct

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/state"
)

// fakeKernel has room for a few pairs.
type fakeKernel struct {
	mu      sync.Mutex
	allow   map[kernel.Pair]bool
	idents  map[netip.Addr]uint64
	vips    map[kernel.VIP]string
	events  []kernel.Event
	renewed int
	closed  bool
	room    int
}

func (k *fakeKernel) Permit(p kernel.Pair) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.allow) >= k.room {
		return kernel.ErrFull
	}
	k.allow[p] = true
	return nil
}

func (k *fakeKernel) Forbid(p kernel.Pair) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.allow, p)
	return nil
}

func (k *fakeKernel) Pairs() ([]kernel.Pair, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.allow)), nil
}

func (k *fakeKernel) At(a netip.Addr) (uint64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ns, ok := k.idents[a]
	return ns, ok
}

func (k *fakeKernel) Publish(v kernel.VIP, of int, here []netip.AddrPort) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.vips == nil {
		k.vips = map[kernel.VIP]string{}
	}
	k.vips[v] = fmt.Sprint(here, " of ", of)
	return nil
}

func (k *fakeKernel) Unpublish(v kernel.VIP) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.vips, v)
	return nil
}

func (k *fakeKernel) Published() ([]kernel.VIP, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Keys(k.vips)), nil
}

func (k *fakeKernel) Renew(time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewed++
	return nil
}

func (k *fakeKernel) Read(fn func(kernel.Event)) error {
	k.mu.Lock()
	events := k.events
	k.events = nil
	k.mu.Unlock()
	for _, e := range events {
		fn(e)
	}
	return nil
}

func (k *fakeKernel) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	return nil
}

// space is a pod's namespace; it counts the connections that were ended in it.
type space struct {
	ns uint64

	mu    sync.Mutex
	ended []netip.AddrPort // remote ends
	lives []netns.Marked
	swept int
}

func (s *space) Cookie() uint64 { return s.ns }

func (s *space) DestroyConn(_, remote netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, remote)
	return nil
}

func (s *space) ListMarked(uint32) ([]netns.Marked, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lives), nil
}

func (s *space) DestroyMarked(uint32, func(_, _ netip.AddrPort) bool) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.swept++
	return 0, nil
}

const port = 8080

// node is a table with the pods front and cart of one node, which may talk directly.
type node struct {
	*Table
	k           *fakeKernel
	front, cart *pod.Pod
	pair        kernel.Pair
}

var (
	frontAddr = netip.MustParseAddr("10.0.0.1")
	cartAddr  = netip.MustParseAddr("10.0.0.2")
)

func workload(name string, addr netip.Addr) *model.Workload {
	return &model.Workload{UID: "c//Pod/shop/" + name, Name: name, Namespace: "shop", ServiceAccount: name, TrustDomain: "cluster.local",
		Node: "n1", Protocol: model.HBONE, Addresses: []netip.Addr{addr}, Services: map[string][]model.Port{}}
}

func newNode() *node {
	s := state.New("n1")
	s.Apply(state.Delta{Workloads: []*model.Workload{workload("front", frontAddr), workload("cart", cartAddr)}})
	s.SetSynced()
	m := telemetry.NewMetrics(telemetry.Options{})
	n := &node{k: &fakeKernel{allow: map[kernel.Pair]bool{}, idents: map[netip.Addr]uint64{frontAddr: 1, cartAddr: 2}, room: 8}}
	n.Table = New(Options{State: s, Flows: flow.NewTable(flow.TableOptions{Metrics: m})})
	made := func(name string, ns uint64) *pod.Pod {
		return &pod.Pod{UID: name, Namespace: "shop", Name: name, State: s, Space: &space{ns: ns},
			Identity: identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: name}}
	}
	n.front, n.cart = made("front", 1), made("cart", 2)
	n.Joined(n.front)
	n.Joined(n.cart)
	n.adopt(n.k)
	n.pair = kernel.PairOf(1, 2, netip.AddrPortFrom(cartAddr, port))
	return n
}

func (n *node) offer() bool {
	at := netip.AddrPortFrom(cartAddr, port)
	n.Offer(n.front, at, at)
	return n.k.allow[n.pair]
}

func policyOf(p model.Policy, ms ...model.Match) *model.Policy {
	p.Name, p.Namespace, p.Scope = "p", "shop", model.ScopeNamespace
	p.Rules = []model.Rule{{Clauses: []model.Clause{{Matches: ms}}}}
	return &p
}

// What leaves something to a proxy, or is not known, is never permitted, and is taken back when it comes later.
func TestNeverDirect(t *testing.T) {
	for what, change := range map[string]func(n *node){
		"waypoint": func(n *node) {
			w := workload("cart", cartAddr)
			w.Waypoint = &model.Gateway{Namespace: "shop", Hostname: "waypoint.shop.svc.cluster.local", Port: 15008}
			n.o.State.Apply(state.Delta{Workloads: []*model.Workload{w}})
		},
		"fault of a headless service": func(n *node) {
			s := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Ports: []model.Port{{ServicePort: port, TargetPort: port}},
				Faults: []model.ConnFault{{Name: "shop/slow"}}}
			w := workload("cart", cartAddr)
			w.Services[s.Key()] = s.Ports
			n.o.State.Apply(state.Delta{Workloads: []*model.Workload{w}, Services: []*model.Service{s}})
		},
		"denied": func(n *node) {
			n.o.State.Apply(state.Delta{Policies: []*model.Policy{policyOf(model.Policy{Action: model.Deny}, model.Match{Ports: []uint16{port}})}})
		},
		"allowed to others": func(n *node) {
			n.o.State.Apply(state.Delta{Policies: []*model.Policy{policyOf(model.Policy{Action: model.Allow}, model.Match{Principals: []model.StringMatch{{Kind: model.Exact, Value: "cluster.local/ns/shop/sa/other"}}})}})
		},
		"L7 rule": func(n *node) {
			n.o.State.Apply(state.Delta{Policies: []*model.Policy{policyOf(model.Policy{Action: model.Allow, Unsupported: "methods"}),
				{Name: "open", Namespace: "shop", Scope: model.ScopeNamespace, Action: model.Allow, Rules: []model.Rule{{}}}}})
		},
		"policy in dry run": func(n *node) {
			n.o.State.Apply(state.Delta{Policies: []*model.Policy{policyOf(model.Policy{Action: model.Deny, DryRun: true}, model.Match{Ports: []uint16{9}})}})
		},
		"policy not received": func(n *node) {
			w := workload("cart", cartAddr)
			w.Policies = []string{"shop/later"}
			n.o.State.Apply(state.Delta{Workloads: []*model.Workload{w}})
		},
		"another identity": func(n *node) {
			w := workload("cart", cartAddr)
			w.ServiceAccount = "somebody"
			n.o.State.Apply(state.Delta{Workloads: []*model.Workload{w}})
		},
		"outside of the mesh": func(n *node) {
			w := workload("cart", cartAddr)
			w.Protocol = model.Plain
			n.o.State.Apply(state.Delta{Workloads: []*model.Workload{w}})
		},
		"gone":             func(n *node) { n.o.State.Apply(state.Delta{RemovedAddresses: []string{"c//Pod/shop/cart"}}) },
		"caller gone":      func(n *node) { n.Left(n.front) },
		"not served here":  func(n *node) { n.Left(n.cart) },
		"to be encrypted":  func(n *node) { delete(n.k.idents, cartAddr) },
		"caller encrypted": func(n *node) { delete(n.k.idents, frontAddr) },
		"address moved":    func(n *node) { n.k.idents[cartAddr] = 3 },
	} {
		t.Run(what, func(t *testing.T) {
			n := newNode()
			change(n)
			if n.offer() {
				t.Error("permitted")
			}
			n = newNode()
			if !n.offer() {
				t.Fatal("not permitted before")
			}
			change(n)
			n.revise()
			if n.k.allow[n.pair] {
				t.Error("still permitted")
			}
			for _, p := range []*pod.Pod{n.front, n.cart} {
				if sp := p.Space.(*space); sp.swept == 0 && n.pods[sp.ns] != nil {
					t.Errorf("connections of %s were not cut", p.Name)
				}
			}
		})
	}
}

// A service is drawn from with the weight of all its endpoints, and the rest is the proxy's.
func TestService(t *testing.T) {
	n := newNode()
	svc := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")},
		Ports: []model.Port{{ServicePort: 80, TargetPort: port}}}
	end := func(name, addr, node string) *model.Workload {
		w := workload(name, netip.MustParseAddr(addr))
		w.Node, w.Services = node, map[string][]model.Port{svc.Key(): svc.Ports}
		return w
	}
	here, there := end("cart", cartAddr.String(), "n1"), end("far", "10.0.1.1", "n2")
	n.o.State.Apply(state.Delta{Workloads: []*model.Workload{here, there}, Services: []*model.Service{svc}})
	vip := netip.MustParseAddrPort("10.96.0.1:80")
	v := kernel.VIPOf(1, vip)
	n.Offer(n.front, vip, netip.AddrPortFrom(cartAddr, port))
	if got := n.k.vips[v]; got != "[10.0.0.2:8080] of 2" || !n.k.allow[n.pair] {
		t.Fatalf("published %q", got)
	}
	if d := n.Drawn(n.front, vip); len(d) != 1 || d[0] != here {
		t.Errorf("drawn %v", d)
	}
	ill := *there
	ill.Unhealthy = true
	n.o.State.Apply(state.Delta{Workloads: []*model.Workload{&ill}})
	n.revise()
	if got := n.k.vips[v]; got != "[10.0.0.2:8080] of 1" || n.Drawn(n.front, vip) != nil {
		t.Errorf("the other is ill: %q", got)
	}
	for what, change := range map[string]func(s *model.Service){
		"waypoint": func(s *model.Service) {
			s.Waypoint = &model.Gateway{Namespace: "shop", Hostname: "waypoint.shop.svc.cluster.local", Port: 15008}
		},
		"fault":    func(s *model.Service) { s.Faults = []model.ConnFault{{Name: "x"}} },
		"carriage": func(s *model.Service) { s.Carriage = []model.Carriage{{}} },
	} {
		with := *svc
		change(&with)
		n.o.State.Apply(state.Delta{Services: []*model.Service{&with}})
		n.revise()
		if got, ok := n.k.vips[v]; ok {
			t.Errorf("%s: %q", what, got)
		}
		n.Offer(n.front, vip, netip.AddrPortFrom(cartAddr, port))
		if got, ok := n.k.vips[v]; ok {
			t.Errorf("%s, offered again: %q", what, got)
		}
		n.o.State.Apply(state.Delta{Services: []*model.Service{svc}})
		n.Offer(n.front, vip, netip.AddrPortFrom(cartAddr, port))
		if n.k.vips[v] == "" {
			t.Errorf("%s is gone: not published again", what)
		}
	}
	delete(n.k.idents, cartAddr)
	n.renew()
	if got, ok := n.k.vips[v]; ok || n.k.allow[n.pair] {
		t.Errorf("its endpoint may not any more: %q", got)
	}
}

// What the agent has taken back is noticed with the next renewal, though the mesh has not changed.
func TestRenewalNoticesTheAgent(t *testing.T) {
	n := newNode()
	n.offer()
	n.renew()
	if !n.k.allow[n.pair] || n.k.renewed != 1 {
		t.Fatalf("%v, renewed %d times", n.k.allow, n.k.renewed)
	}
	delete(n.k.idents, frontAddr)
	n.renew()
	if n.k.allow[n.pair] {
		t.Error("still permitted")
	}
}

// A full kernel means the proxy, and room that comes free is used.
func TestFull(t *testing.T) {
	n := newNode()
	n.k.room = 0
	if n.offer() || len(n.pairs) != 0 {
		t.Fatal("permitted beyond the room")
	}
	n.k.room = 1
	if !n.offer() {
		t.Error("there is room now")
	}
}

// A ztunnel decides on what the one before has permitted before it does anything else.
func TestAdopt(t *testing.T) {
	n := newNode()
	stale := kernel.Pair{From: 77, To: 2, Port: port, Family: n.pair.Family}
	next := &fakeKernel{allow: map[kernel.Pair]bool{n.pair: true, stale: true}, idents: n.k.idents, room: 8}
	n.adopt(next)
	if !next.allow[n.pair] || next.allow[stale] || !n.k.closed {
		t.Errorf("adopted %v", next.allow)
	}
	n.Release()
	if !next.allow[n.pair] || !next.closed {
		t.Error("released: a successor is to decide")
	}
	at := netip.AddrPortFrom(cartAddr, port+1)
	n.Offer(n.front, at, at)
	if len(next.allow) != 1 {
		t.Error("permitted after the release")
	}
}

// Connections are told of at both ends, live ones are cut with their pair, and are ended by the kernel's word.
func TestConnections(t *testing.T) {
	n := newNode()
	n.offer()
	e := kernel.Event{Kind: kernel.Opened, Socket: 9, NS: 1, Local: netip.AddrPortFrom(frontAddr, 40000), Remote: netip.AddrPortFrom(cartAddr, port), At: kernel.Now()}
	n.k.events = []kernel.Event{e}
	n.read()
	views := n.o.Flows.Views()
	if len(views) != 2 || views[0].Security != telemetry.SecuritySameNode || views[0].Pod != "shop/front" || views[1].Pod != "shop/cart" {
		t.Fatalf("live: %+v", views)
	}
	n.o.State.Apply(state.Delta{Policies: []*model.Policy{policyOf(model.Policy{Action: model.Deny}, model.Match{Ports: []uint16{port}})}})
	n.revise()
	for _, p := range []*pod.Pod{n.front, n.cart} {
		if len(p.Space.(*space).ended) == 0 {
			t.Errorf("the socket of %s lives", p.Name)
		}
	}
	c := n.conns[9]
	if f := c.in.Killed(); f == nil || f.Flag != telemetry.FlagDenied {
		t.Errorf("cause %v", f)
	}
	e.Kind, e.Sent, e.Received = kernel.Closed, 5, 7
	n.k.events = []kernel.Event{e}
	n.read()
	if n.o.Flows.Len() != 0 || len(n.conns) != 0 || c.out.Sent.Load() != 5 {
		t.Errorf("%d flows left, %d bytes sent", n.o.Flows.Len(), c.out.Sent.Load())
	}
	// Those of before, of which only the end is heard, and those that could not be made.
	for _, kind := range []kernel.Kind{kernel.Closed, kernel.Failed} {
		e.Kind, e.Socket = kind, 10
		n.k.events = []kernel.Event{e}
		n.read()
	}
	if n.o.Flows.Len() != 0 {
		t.Error("flows left")
	}
}

// What nobody tells of is found at the sockets: bytes of the living, ends, and connections of before.
func TestLook(t *testing.T) {
	n := newNode()
	n.offer()
	sp := n.front.Space.(*space)
	sp.lives = []netns.Marked{{Cookie: 9, Local: netip.AddrPortFrom(frontAddr, 40000), Remote: netip.AddrPortFrom(cartAddr, port), Acked: 101, Received: 50}}
	n.look(false)
	if len(n.conns) != 0 {
		t.Error("a connection whose opening is still to be told")
	}
	n.look(true)
	c := n.conns[9]
	if c == nil || n.o.Flows.Len() != 2 {
		t.Fatalf("adopted %v", n.conns)
	}
	n.look(false)
	if c.out.Sent.Load() != 100 || c.in.Received.Load() != 50 {
		t.Errorf("moved %d and %d", c.out.Sent.Load(), c.in.Received.Load())
	}
	sp.lives = nil
	n.look(false)
	if len(n.conns) != 0 || n.o.Flows.Len() != 0 {
		t.Error("it is gone, and still there")
	}
}

// Without an agent there is no direct path, with each new one the maps are taken again, and nothing is left behind.
func TestRun(t *testing.T) {
	defer goleak.VerifyNone(t)
	n := newNode()
	taken := make(chan *io.PipeWriter, 8)
	first := true
	n.o.Take = func(context.Context) (Kernel, io.ReadCloser, error) {
		if first {
			first = false
			return nil, nil, errors.New("no agent")
		}
		r, w := io.Pipe()
		taken <- w
		return &fakeKernel{allow: map[kernel.Pair]bool{}, idents: n.k.idents, room: 8}, r, nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	(<-taken).Close() // the agent ends
	<-taken           // and another one is there
	cancel()
	<-done
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.kernel != nil {
		t.Error("the maps were not given back")
	}
}
