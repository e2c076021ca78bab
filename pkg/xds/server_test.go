package xds

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachetypes "github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"istio.io/istio/pkg/workloadapi"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

const anyPort = "127.0.0.1:0"

func expect(t *testing.T, r *discoveryv3.DeltaDiscoveryResponse, want string) {
	t.Helper()
	if got := shape(r); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A delta-ADS client of another maker gets everything once and then only what changes.
func TestOnlyChangesAreSent(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a", "b", "svc:cart", "pol:p"))
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	// The node id is that of Istio's ztunnel.
	const node = "ztunnel~10.0.0.9~ztunnel-x.istio-system~istio-system.svc.cluster.local"
	p.subscribe(node, wire.TypeAddress, nil)
	first := p.recv()
	expect(t, first, "a b shop/cart")
	p.ack(first)
	p.subscribe("", wire.TypeAuthorization, nil)
	pol := p.recv()
	expect(t, pol, "shop/p")
	p.ack(pol)

	addr := &workloadapi.Address{}
	if err := first.GetResources()[0].GetResource().UnmarshalTo(addr); err != nil {
		t.Errorf("not the message that Istio's ztunnel reads: %v", err)
	}

	s.SetSnapshot(mesh("a", "b", "svc:cart", "pol:p")) // equal, in new objects: nothing is sent
	for _, step := range []struct{ words, want string }{
		{"a=2 b svc:cart pol:p", "a"},
		{"a=2 b c svc:cart pol:p", "c"},
		{"a=2 c svc:cart=2 pol:p", "-b shop/cart"},
		{"svc:cart=2 pol:p", "-a -c"},
		{"a svc:cart=2 pol:p=2", "a"}, // and the policy, below
	} {
		s.SetSnapshot(mesh(strings.Fields(step.words)...))
		resp := p.recv()
		if step.words == "a svc:cart=2 pol:p=2" { // policies are sent first
			expect(t, resp, "shop/p")
			p.ack(resp)
			resp = p.recv()
		}
		expect(t, resp, step.want)
		p.ack(resp)
	}
	eventually(t, "all is acknowledged", func() bool {
		c := s.Clients()
		return len(c) == 1 && c[0].NodeID == node && c[0].Types[wire.TypeAddress].Acked == c[0].Types[wire.TypeAddress].Sent && c[0].Types[wire.TypeAddress].Responses == 6
	})
}

func TestReconnectResendsNothingUnchanged(t *testing.T) {
	r := newRig(t)
	s, at, stop := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a", "b", "c"))
	conn := r.dial(t, at, ca.MintOptions{Node: "n1"})
	p := openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	first := p.recv()
	known := versions(first)
	p.ack(first)
	p.cancel()

	p = openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, known)
	expect(t, p.recv(), "")
	p.cancel()

	s.SetSnapshot(mesh("a", "b=2"))
	p = openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, known)
	expect(t, p.recv(), "-c b")
	p.cancel()
	stop()

	// Another replica, or the same after a restart: versions are hashes of the content.
	s2, _, _ := r.serve(t, at, Options{})
	s2.SetSnapshot(mesh("a", "b", "c"))
	p = openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	p.subscribe("ztunnel~n1", wire.TypeAddress, known)
	expect(t, p.recv(), "")
}

// An answer before the controller has read its objects would tell a ztunnel that the mesh is empty.
func TestNothingIsAnsweredBeforeTheFirstSnapshot(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	p.subscribe("ztunnel~n1", wire.TypeAddress, map[string]string{"a": "some-version"})
	got := make(chan *discoveryv3.DeltaDiscoveryResponse, 1)
	go func() { got <- p.recv() }()
	select {
	case resp := <-got:
		t.Fatalf("answered with %q", shape(resp))
	case <-time.After(200 * time.Millisecond):
	}
	s.SetSnapshot(mesh("a"))
	expect(t, <-got, "a")
}

func TestStopBeforeTheFirstSnapshot(t *testing.T) {
	r := newRig(t)
	_, at, stop := r.serve(t, anyPort, Options{})
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	stop() // returns, although the stream waits
	if err := p.err(); err == nil {
		t.Error("the stream goes on")
	}
}

func TestOnDemand(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a", "b", "svc:cart"))
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	ask := func(names ...string) {
		p.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "ztunnel~n1"}, TypeUrl: wire.TypeAddress, ResourceNamesSubscribe: names})
	}
	ask("/10.0.0.1", "/10.9.9.9", "shop/cart")
	resp := p.recv()
	expect(t, resp, "-/10.9.9.9 /10.0.0.1 shop/cart")
	addr := &workloadapi.Address{}
	if err := resp.GetResources()[0].GetResource().UnmarshalTo(addr); err != nil {
		t.Fatal(err)
	}
	p.ack(resp)
	ask("b")
	resp = p.recv()
	expect(t, resp, "b")
	p.ack(resp)

	s.SetSnapshot(mesh("a=2", "b", "c", "svc:cart")) // c was not asked for
	resp = p.recv()
	expect(t, resp, "/10.0.0.1")
	p.ack(resp)

	// The address moves from a to another pod.
	moved := mesh("b", "c", "svc:cart", "X")
	moved.Workloads.Get("X").Addresses = mesh("a").Workloads.Get("a").Addresses
	s.SetSnapshot(moved)
	resp = p.recv()
	expect(t, resp, "/10.0.0.1")
	if err := resp.GetResources()[0].GetResource().UnmarshalTo(addr); err != nil || addr.GetWorkload().GetUid() != "X" {
		t.Errorf("the address names %q, %v; want X", addr.GetWorkload().GetUid(), err)
	}
	p.ack(resp)
	s.SetSnapshot(mesh("b", "c", "svc:cart"))
	expect(t, p.recv(), "-/10.0.0.1")
}

func TestWhoMaySubscribe(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a"))
	for name, tc := range map[string]struct {
		mint      ca.MintOptions
		node, typ string
		code      codes.Code
		says      string
	}{
		"ztunnel of another node":       {mint: ca.MintOptions{Node: "n1"}, node: "ztunnel~n2", typ: wire.TypeAddress, code: codes.PermissionDenied, says: "cannot be the ztunnel of node n2"},
		"waypoint of another namespace": {mint: ca.MintOptions{ServiceAccount: "bank/way"}, node: "waypoint~shop/way~x", typ: resource.ClusterType, code: codes.PermissionDenied, says: "another namespace"},
		"ztunnel asks for clusters":     {mint: ca.MintOptions{Node: "n1"}, node: "ztunnel~n1", typ: resource.ClusterType, code: codes.PermissionDenied, says: "only waypoints"},
		"token expired":                 {mint: ca.MintOptions{Node: "n1", TTL: time.Nanosecond, Clock: yesterday{}}, node: "ztunnel~n1", typ: wire.TypeAddress, code: codes.Unauthenticated, says: "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPlain(t, r.dial(t, at, tc.mint))
			p.subscribe(tc.node, tc.typ, nil)
			if err := p.err(); status.Code(err) != tc.code || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.code, tc.says)
			}
		})
	}
	t.Run("no token", func(t *testing.T) {
		conn, err := ca.Dial(ca.DialOptions{Address: at, RootFile: r.rootFile, Server: controller})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := openPlain(t, conn).err(); status.Code(err) != codes.Unauthenticated {
			t.Errorf("got %v, want Unauthenticated", err)
		}
	})
	t.Run("node changes on a stream", func(t *testing.T) {
		p := openPlain(t, r.dial(t, at, ca.MintOptions{}))
		p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
		p.recv()
		p.subscribe("ztunnel~n2", wire.TypeAuthorization, nil)
		if err := p.err(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("got %v, want InvalidArgument", err)
		}
	})
	eventually(t, "closed streams are forgotten", func() bool { return len(s.Clients()) == 0 })
}

type yesterday struct{ ca.SystemClock }

func (yesterday) Now() time.Time { return time.Now().Add(-24 * time.Hour) }

func TestNACKIsReported(t *testing.T) {
	r := newRig(t)
	var mu sync.Mutex
	var nacks []NACK
	reg := prometheus.NewRegistry()
	s, at, _ := r.serve(t, anyPort, Options{Registerer: reg, OnNACK: func(n NACK) { mu.Lock(); defer mu.Unlock(); nacks = append(nacks, n) }})
	s.SetSnapshot(mesh("a"))
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	resp := p.recv()
	p.nack(resp, "a: no such thing")
	eventually(t, "the callback", func() bool { mu.Lock(); defer mu.Unlock(); return len(nacks) == 1 })
	mu.Lock()
	n := nacks[0]
	mu.Unlock()
	if n.NodeID != "ztunnel~n1" || n.TypeURL != wire.TypeAddress || n.Detail != "a: no such thing" || n.Nonce != resp.GetNonce() || n.Version != resp.GetSystemVersionInfo() {
		t.Errorf("got %+v", n)
	}
	if st := s.Clients()[0].Types[wire.TypeAddress]; st.NACKs != 1 || st.LastNACK != "a: no such thing" || st.Acked != "" {
		t.Errorf("state: %+v", st)
	}
	s.SetSnapshot(mesh("a=2")) // refused things are sent again when they change
	resp = p.recv()
	expect(t, resp, "a")
	p.ack(resp)
	eventually(t, "the refusal is over", func() bool {
		st := s.Clients()[0].Types[wire.TypeAddress]
		return st.LastNACK == "" && st.Acked == st.Sent
	})
	mfs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, mf := range mfs {
		if mf.GetName() == "weft_xds_nacks_total" && mf.GetMetric()[0].GetCounter().GetValue() != 1 {
			t.Errorf("metric: %v", mf)
		}
	}
}

func envoySnapshot(t *testing.T, version string, clusters ...string) *cache.Snapshot {
	t.Helper()
	var cs []cachetypes.Resource
	for _, c := range clusters {
		cs = append(cs, &clusterv3.Cluster{Name: c})
	}
	snap, err := cache.NewSnapshot(version, map[resource.Type][]cachetypes.Resource{resource.ClusterType: cs, resource.SecretType: {&tlsv3.Secret{Name: "identity"}}})
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// Envoy speaks either dialect of ADS; all pods of a waypoint get the same.
func TestEnvoy(t *testing.T) {
	r := newRig(t)
	nacks := make(chan NACK, 1)
	s, at, _ := r.serve(t, anyPort, Options{OnNACK: func(n NACK) { nacks <- n }})
	s.SetSnapshot(mesh())
	way := ca.MintOptions{ServiceAccount: "shop/way"}

	p := openPlain(t, r.dial(t, at, way))
	p.subscribe(WaypointNode("shop", "way", "pod-1"), resource.ClusterType, nil) // before there is anything
	if err := s.SetEnvoy(WaypointNode("shop", "way", ""), envoySnapshot(t, "1", "x", "y")); err != nil {
		t.Fatal(err)
	}
	resp := p.recv()
	expect(t, resp, "x y")
	p.ack(resp)
	p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.SecretType, ResourceNamesSubscribe: []string{"identity"}})
	resp = p.recv()
	expect(t, resp, "identity")
	p.ack(resp)
	if err := s.SetEnvoy(WaypointNode("shop", "way", ""), envoySnapshot(t, "2", "x", "z")); err != nil {
		t.Fatal(err)
	}
	resp = p.recv()
	expect(t, resp, "-y z")
	p.nack(resp, "cluster z: no type")
	if n := <-nacks; n.NodeID != "waypoint~shop/way~pod-1" || n.Detail != "cluster z: no type" {
		t.Errorf("got %+v", n)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sotw, err := discoveryv3.NewAggregatedDiscoveryServiceClient(r.dial(t, at, way)).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := sotw.Send(&discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: WaypointNode("shop", "way", "pod-2")}, TypeUrl: resource.ClusterType}); err != nil {
		t.Fatal(err)
	}
	full, err := sotw.Recv()
	if err != nil || len(full.GetResources()) != 2 || full.GetVersionInfo() != "2" {
		t.Fatalf("state of the world: %v, %v", full, err)
	}
	if n := len(s.Clients()); n != 2 {
		t.Errorf("%d clients, want both pods", n)
	}
}

// One port serves discovery and certificates, and a caller may prove itself by its certificate.
func TestCertificatesOnTheSamePort(t *testing.T) {
	r := newRig(t)
	svc := ca.NewService(ca.ServiceOptions{Authority: r.authority})
	s, at, _ := r.serve(t, anyPort, Options{Register: []func(grpc.ServiceRegistrar){svc.Register}})
	s.SetSnapshot(mesh("a"))
	self := controller
	self.Namespace, self.ServiceAccount = "shop", "way"
	m := ca.NewManager(ca.ManagerOptions{Issuer: ca.NewClient(r.dial(t, at, ca.MintOptions{ServiceAccount: "shop/way"}), self)})
	defer m.Close()
	cert, err := m.Certificate(t.Context(), self)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := ca.Dial(ca.DialOptions{Address: at, RootFile: r.rootFile, Server: controller, ClientCert: certOf(cert)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := openPlain(t, conn)
	p.subscribe("whoever", wire.TypeAddress, nil)
	expect(t, p.recv(), "a")
	if c := s.Clients()[0].Caller; c.Method != "certificate" || c.Account() != "shop/way" {
		t.Errorf("caller: %+v", c)
	}
}

func TestServerNeedsItsOptions(t *testing.T) {
	if _, err := NewServer(Options{}); err == nil {
		t.Error("a server without TLS and authentication was made")
	}
}

// What cannot be encoded stays as it was and hinders nobody.
func TestOneBadResourceDoesNotStopTheRest(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a", "b"))
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	p.ack(p.recv())
	s.SetSnapshot(mesh("a=\xff\xfe", "b=2"))
	resp := p.recv()
	expect(t, resp, "b")
	p.ack(resp)
	s.SetSnapshot(mesh("a=3", "b=2"))
	expect(t, p.recv(), "a")
}
