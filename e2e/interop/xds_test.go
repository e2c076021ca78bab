package interop

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	sotw "github.com/envoyproxy/go-control-plane/pkg/client/sotw/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	istiosecurity "istio.io/istio/pkg/security"
	"istio.io/istio/pkg/workloadapi"
	"istio.io/istio/pkg/workloadapi/security"
	"istio.io/istio/security/pkg/nodeagent/caclient/providers/citadel"
	"istio.io/istio/security/pkg/pki/util"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// controller is our xDS server and CA on one port, as the controller runs them.
type controller struct {
	server   *xds.Server
	address  string
	rootFile string
	roots    *x509.CertPool
	token    string // of the ztunnel of node n1
	nacks    chan xds.NACK
}

func startController(t *testing.T) *controller {
	t.Helper()
	dir := t.TempDir()
	authority, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: filepath.Join(dir, "ca"), Create: true})
	must(t, err)
	key := filepath.Join(dir, "token.key")
	must(t, ca.CreateTokenKey(key))
	tokens, err := ca.NewJWTAuthenticator(ca.JWTOptions{KeyFile: key + ".pub"})
	must(t, err)
	c := &controller{rootFile: filepath.Join(dir, "ca", ca.FileRoots), roots: authority.Pool(), nacks: make(chan xds.NACK, 10)}
	c.token, err = ca.MintToken(ca.MintOptions{KeyFile: key, ServiceAccount: "weft-system/weft-ztunnel", Node: "n1"})
	must(t, err)
	service := ca.NewService(ca.ServiceOptions{Authority: authority})
	c.server, err = xds.NewServer(xds.Options{
		TLS: authority.ServingTLS(ca.ServingOptions{DNSNames: []string{"localhost"},
			Identity: identity.Identity{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-controller"}}),
		Authenticator: tokens, Register: []func(grpc.ServiceRegistrar){service.Register}, OnNACK: func(n xds.NACK) { c.nacks <- n },
	})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c.address = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// bearer shows a token with each call, as Istio's programs do.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return true }

// dial connects as a program does that shares no code with ours; without a token it shows none.
func (c *controller) dial(t *testing.T, token string) *grpc.ClientConn {
	t.Helper()
	opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: c.roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}))}
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient(c.address, opts...)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func snapshot(pods ...string) *model.Snapshot {
	s := model.NewSnapshot()
	svc := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}, Ports: []model.Port{{ServicePort: 80, TargetPort: 8080}}}
	s.Services[svc.Key()] = svc
	for i, name := range pods {
		s.Workloads.Set(name, &model.Workload{UID: name, Name: name, Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local", Node: "n1", Protocol: model.HBONE,
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 1, 0, byte(i + 1)})}, Services: map[string][]model.Port{svc.Key(): {{ServicePort: 80, TargetPort: 8080}}}})
	}
	p := &model.Policy{Name: "p", Namespace: "shop", Scope: model.ScopeNamespace, Rules: []model.Rule{{Clauses: []model.Clause{{Matches: []model.Match{{Principals: []model.StringMatch{model.ParseStringMatch("cluster.local/ns/shop/sa/cart")}}}}}}}}
	s.Policies[p.Key()] = p
	return s
}

// ztunnel is a delta client made of go-control-plane's and Istio's messages alone: it asks, answers and
// remembers as Istio's ztunnel does.
type ztunnel struct {
	t      *testing.T
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	has    map[string]proto.Message
	known  map[string]string // versions
}

func (z *ztunnel) connect(conn *grpc.ClientConn) {
	z.t.Helper()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(z.t.Context())
	must(z.t, err)
	z.stream = stream
	node := &corev3.Node{Id: "ztunnel~10.0.0.9~ztunnel-x.istio-system~istio-system.svc.cluster.local"}
	must(z.t, stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: wire.TypeAddress, InitialResourceVersions: z.known}))
	must(z.t, stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAuthorization}))
}

// next applies one response; refuse, if not empty, refuses it instead.
func (z *ztunnel) next(refuse string) *discoveryv3.DeltaDiscoveryResponse {
	z.t.Helper()
	r, err := z.stream.Recv()
	must(z.t, err)
	answer := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if refuse != "" {
		answer.ErrorDetail = &status.Status{Code: 3, Message: refuse}
		must(z.t, z.stream.Send(answer))
		return r
	}
	for _, res := range r.GetResources() {
		m, err := res.GetResource().UnmarshalNew() // the types are found by their names: Istio's
		must(z.t, err)
		z.has[res.GetName()] = m
		if r.GetTypeUrl() == wire.TypeAddress {
			z.known[res.GetName()] = res.GetVersion()
		}
	}
	for _, name := range r.GetRemovedResources() {
		delete(z.has, name)
		delete(z.known, name)
	}
	must(z.t, z.stream.Send(answer))
	return r
}

// A ztunnel of another make follows our server over TLS with a token, reconnects with what it knows, and is
// heard when it refuses.
func TestForeignZtunnel(t *testing.T) {
	noTunnels(t)
	c := startController(t)
	c.server.SetSnapshot(snapshot("a", "b"))
	z := &ztunnel{t: t, has: map[string]proto.Message{}, known: map[string]string{}}
	conn := c.dial(t, c.token)
	z.connect(conn)
	z.next("")
	z.next("")
	if len(z.has) != 4 {
		t.Fatalf("it was told of %v", z.has)
	}
	w := z.has["a"].(*workloadapi.Address).GetWorkload()
	if w.GetTunnelProtocol() != workloadapi.TunnelProtocol_HBONE || w.GetNode() != "n1" || w.GetServices()["shop/cart.shop.svc.cluster.local"].GetPorts()[0].GetTargetPort() != 8080 {
		t.Errorf("workload reads as %v", w)
	}
	if v := z.has["shop/cart.shop.svc.cluster.local"].(*workloadapi.Address).GetService(); len(v.GetAddresses()) != 1 || v.GetPorts()[0].GetServicePort() != 80 {
		t.Errorf("service reads as %v", v)
	}
	if p := z.has["shop/p"].(*security.Authorization); p.GetAction() != security.Action_ALLOW || p.GetGroups()[0].GetRules()[0].GetMatches()[0].GetPrincipals()[0].GetExact() != "cluster.local/ns/shop/sa/cart" {
		t.Errorf("policy reads as %v", p)
	}
	c.server.SetSnapshot(snapshot("a"))
	if r := z.next(""); len(r.GetRemovedResources()) != 1 || len(r.GetResources()) != 0 || z.has["b"] != nil {
		t.Errorf("a removal came as %v", r)
	}
	must(t, z.stream.CloseSend())
	c.server.SetSnapshot(snapshot("a", "c"))
	z.connect(conn)
	for range 2 { // each type is answered; of the addresses only the new one is sent
		if r := z.next(""); r.GetTypeUrl() == wire.TypeAddress && (len(r.GetResources()) != 1 || r.GetResources()[0].GetName() != "c") {
			t.Errorf("after the reconnect it was sent %v", r)
		}
	}
	c.server.SetSnapshot(snapshot("a", "c", "d"))
	z.next("no room")
	select {
	case n := <-c.nacks:
		if n.Detail != "no room" || n.TypeURL != wire.TypeAddress {
			t.Errorf("its refusal was heard as %+v", n)
		}
	case <-time.After(time.Minute):
		t.Error("its refusal was not heard")
	}
}

// Without a token, or with one that somebody else signed, nobody is told anything.
func TestForeignZtunnelNeedsAToken(t *testing.T) {
	noTunnels(t)
	c, other := startController(t), startController(t)
	c.server.SetSnapshot(snapshot("a"))
	for name, token := range map[string]string{"none": "", "of another mesh": other.token} {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(c.dial(t, token)).DeltaAggregatedResources(t.Context())
		must(t, err)
		_ = stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "ztunnel~x"}, TypeUrl: wire.TypeAddress})
		if r, err := stream.Recv(); grpcstatus.Code(err) != codes.Unauthenticated {
			t.Errorf("token %s: %v, %v; want Unauthenticated", name, r, err)
		}
	}
}

// go-control-plane's own client gets a waypoint's configuration, state of the world.
func TestControlPlaneClient(t *testing.T) {
	noTunnels(t)
	c := startController(t)
	c.server.SetSnapshot(snapshot())
	publish := func(version string, names ...string) {
		t.Helper()
		var clusters []types.Resource
		for _, name := range names {
			clusters = append(clusters, &clusterv3.Cluster{Name: name})
		}
		snap, err := cache.NewSnapshot(version, map[resource.Type][]types.Resource{resource.ClusterType: clusters})
		must(t, err)
		must(t, c.server.SetEnvoy(xds.WaypointNode("weft-system", "way", ""), snap))
	}
	publish("1", "one")
	envoy := sotw.NewADSClient(t.Context(), &corev3.Node{Id: xds.WaypointNode("weft-system", "way", "pod")}, resource.ClusterType)
	must(t, envoy.InitConnect(c.dial(t, c.token)))
	first, err := envoy.Fetch()
	must(t, err)
	if len(first.Resources) != 1 {
		t.Errorf("it was sent %v", first.Resources)
	}
	must(t, envoy.Ack())
	publish("2", "one", "two")
	second, err := envoy.Fetch()
	must(t, err)
	if len(second.Resources) != 2 {
		t.Errorf("it was sent %v", second.Resources)
	}
	must(t, envoy.Nack("no room"))
	select {
	case n := <-c.nacks:
		if n.Detail != "no room" || n.Version != "2" {
			t.Errorf("its refusal was heard as %+v", n)
		}
	case <-time.After(time.Minute):
		t.Error("its refusal was not heard")
	}
}

// fetcher hands Istio's client its token.
type fetcher string

func (f fetcher) GetPlatformCredential() (string, error) { return string(f), nil }
func (fetcher) GetIdentityProvider() string              { return "" }
func (fetcher) Stop()                                    {}

// Istio's own CA client gets a certificate of its identity, and none of another.
func TestIstioCAClient(t *testing.T) {
	noTunnels(t)
	c := startController(t)
	client, err := citadel.NewCitadelClient(&istiosecurity.Options{CAEndpoint: c.address, CAEndpointSAN: "localhost", ClusterID: "Kubernetes", CredFetcher: fetcher(c.token)},
		&citadel.TLSOptions{RootCert: c.rootFile})
	must(t, err)
	defer client.Close()
	const own = "spiffe://cluster.local/ns/weft-system/sa/weft-ztunnel"
	csr, _, err := util.GenCSR(util.CertOptions{Host: own, ECSigAlg: util.EcdsaSigAlg})
	must(t, err)
	chain, err := client.CSRSign(csr, 3600)
	must(t, err)
	leaf, err := util.ParsePemEncodedCertificate([]byte(chain[0]))
	must(t, err)
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: c.roots}); err != nil || len(leaf.URIs) != 1 || leaf.URIs[0].String() != own {
		t.Errorf("leaf of %v: %v", leaf.URIs, err)
	}
	root, err := os.ReadFile(c.rootFile)
	must(t, err)
	if last := chain[len(chain)-1]; last != string(root) {
		t.Errorf("the chain ends with\n%s", last)
	}
	foreign, _, err := util.GenCSR(util.CertOptions{Host: "spiffe://cluster.local/ns/shop/sa/cart", ECSigAlg: util.EcdsaSigAlg})
	must(t, err)
	if _, err := client.CSRSign(foreign, 3600); err == nil {
		t.Error("it got somebody else's certificate")
	}
}
