package xds

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
	weftv1 "github.com/weftmesh/weft/proto/weft/v1"
)

func runClient(t testing.TB, o subscribe.Options) *subscribe.Client {
	t.Helper()
	c, _ := startClient(t, o)
	return c
}

func startClient(t testing.TB, o subscribe.Options) (c *subscribe.Client, stop func()) {
	t.Helper()
	o.NodeID = wire.ZtunnelNode("n1")
	if o.MinBackoff == 0 {
		o.MinBackoff, o.MaxBackoff = 10*time.Millisecond, 50*time.Millisecond
	}
	c, err := subscribe.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return c, stop
}

func wantTranscript(t *testing.T, s *store, want string) {
	t.Helper()
	var got string
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if more := s.transcript(); more != "" {
			got = strings.TrimPrefix(got+"\n"+more, "\n")
		}
		if len(got) >= len(want) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if got != want {
		t.Errorf("deltas were\n%s\nwant\n%s", got, want)
	}
}

func waitSynced(t testing.TB, c *subscribe.Client) {
	t.Helper()
	select {
	case <-c.Synced():
	case <-time.After(20 * time.Second):
		t.Fatal("never synced")
	}
}

func TestClientFollowsTheServer(t *testing.T) {
	r := newRig(t)
	s, at, stop := r.serve(t, anyPort, Options{})
	st := newStore()
	var connects sync.WaitGroup
	connects.Add(2)
	c := runClient(t, subscribe.Options{Conn: r.dial(t, at, ca.MintOptions{Node: "n1"}), Handler: st, OnConnect: connects.Done})
	s.SetSnapshot(mesh("a", "b", "svc:cart", "pol:p"))
	waitSynced(t, c)
	wantTranscript(t, st, "shop/p (initial)\na b shop/cart (initial)")
	s.SetSnapshot(mesh("a=2", "svc:cart", "pol:p", "pol:q"))
	wantTranscript(t, st, "shop/q\n-b a")
	s.SetSnapshot(mesh("a=2", "svc:cart", "pol:p", "pol:q", "range:10.1.0.0/24", "range:fd00::/108=services"))
	wantTranscript(t, st, "the range of Services fd00::/108 the range of pods 10.1.0.0/24")
	s.SetSnapshot(mesh("a=2", "svc:cart", "pol:p", "pol:q", "range:10.1.1.0/24"))
	wantTranscript(t, st, "-10.1.0.0/24 -fd00::/108 the range of pods 10.1.1.0/24")
	if w := st.workload("a"); w.CanonicalRev != "2" {
		t.Errorf("a is %+v", w)
	}

	// The controller goes, the mesh changes, the controller comes back: only the difference arrives.
	stop()
	s2, _, _ := r.serve(t, at, Options{})
	s2.SetSnapshot(mesh("a=2", "c", "svc:cart", "pol:q", "range:10.1.1.0/24"))
	wantTranscript(t, st, "-shop/p\nc")
	connects.Wait()
	if got := st.counts(); got != "2 workloads, 1 services, 1 policies" {
		t.Errorf("holds %s", got)
	}
}

func TestRefusedDeltaComesAgain(t *testing.T) {
	r := newRig(t)
	nacks := make(chan NACK, 100)
	s, at, _ := r.serve(t, anyPort, Options{OnNACK: func(n NACK) { nacks <- n }})
	s.SetSnapshot(mesh("a"))
	st := newStore()
	st.setFail(errors.New("no space left on device"))
	c := runClient(t, subscribe.Options{Conn: r.dial(t, at, ca.MintOptions{Node: "n1"}), Handler: st})
	if n := <-nacks; !strings.Contains(n.Detail, "no space left on device") {
		t.Errorf("the controller was told %q", n.Detail)
	}
	st.setFail(nil)
	waitSynced(t, c)
	if st.workload("a") == nil {
		t.Error("what was refused never came again")
	}
}

// garbler is a controller that sends what the test tells it to.
type garbler struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	streams chan *garbled
}

type garbled struct {
	discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	first map[string]*discoveryv3.DeltaDiscoveryRequest
	end   chan struct{}
}

func (g *garbler) DeltaAggregatedResources(s discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	str := &garbled{AggregatedDiscoveryService_DeltaAggregatedResourcesServer: s, first: map[string]*discoveryv3.DeltaDiscoveryRequest{}, end: make(chan struct{})}
	for range 3 { // types
		req, err := s.Recv()
		if err != nil {
			return err
		}
		str.first[req.GetTypeUrl()] = req
	}
	select {
	case g.streams <- str:
	case <-s.Context().Done():
		return nil
	}
	select {
	case <-str.end:
	case <-s.Context().Done():
	}
	return nil
}

func startGarbler(t *testing.T) (*garbler, *grpc.ClientConn) {
	t.Helper()
	g := &garbler{streams: make(chan *garbled)}
	srv := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, g)
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); srv.Stop(); <-done })
	return g, conn
}

// say sends resources and returns the client's refusal, "" for an acceptance.
func (g *garbled) say(t *testing.T, typeURL string, removed []string, rs ...*discoveryv3.Resource) string {
	t.Helper()
	if err := g.Send(&discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: "n", Resources: rs, RemovedResources: removed}); err != nil {
		t.Fatal(err)
	}
	req, err := g.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if req.GetResponseNonce() != "n" || req.GetTypeUrl() != typeURL {
		t.Errorf("answered with %v", req)
	}
	return req.GetErrorDetail().GetMessage()
}

func res(t *testing.T, name, version, typeURL string, m proto.Message) *discoveryv3.Resource {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.Resource{Name: name, Version: version, Resource: &anypb.Any{TypeUrl: typeURL, Value: b}}
}

func junk(name, typeURL string) *discoveryv3.Resource {
	return &discoveryv3.Resource{Name: name, Version: "junk", Resource: &anypb.Any{TypeUrl: typeURL, Value: []byte{0xff, 0xff, 0xff}}}
}

// Garbage is refused by name, the last good value stays, and the rest of the response takes effect.
func TestGarbage(t *testing.T) {
	g, conn := startGarbler(t)
	st := newStore()
	c := runClient(t, subscribe.Options{Conn: conn, Handler: st})
	s := <-g.streams
	a := func(rev string) *discoveryv3.Resource {
		return res(t, "a", "v"+rev, wire.TypeAddress, wire.EncodeWorkload(&model.Workload{UID: "a", ServiceAccount: "x", CanonicalRev: rev}))
	}
	other := res(t, "b", "v1", wire.TypeAddress, wire.EncodeWorkload(&model.Workload{UID: "b", ServiceAccount: "x"}))
	wrongName := res(t, "zzz", "v1", wire.TypeAddress, wire.EncodeWorkload(&model.Workload{UID: "b", ServiceAccount: "x"}))
	badPort := wire.EncodeService(&model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop.svc.cluster.local", Ports: []model.Port{{ServicePort: 80, TargetPort: 8080}}})
	badPort.GetService().Ports[0].TargetPort = 1 << 20

	if why := s.say(t, wire.TypeRange, nil, res(t, "10.1.0.0/16", "v1", wire.TypeRange, wire.EncodeRange(&model.Range{Prefix: netip.MustParsePrefix("10.1.0.0/16")})),
		junk("10.2.0.0/16", wire.TypeRange), res(t, "10.3.0.1/16", "v1", wire.TypeRange, &weftv1.Range{Prefix: "10.3.0.1/16"}), res(t, "x", "v1", wire.TypeRange, &weftv1.Range{Prefix: "x"})); !strings.HasPrefix(why, "10.2.0.0/16: ") || strings.Count(why, "\n") != 2 {
		t.Errorf("unreadable ranges: %q", why)
	}
	if why := s.say(t, wire.TypeAddress, nil, a("1")); why != "" {
		t.Fatalf("a good one was refused: %s", why)
	}
	why := s.say(t, wire.TypeAddress, nil, junk("a", wire.TypeAddress), other, wrongName, res(t, "shop/cart.shop.svc.cluster.local", "v", wire.TypeAddress, badPort),
		&discoveryv3.Resource{Name: "empty"}, junk("typed", "type.googleapis.com/x.Y"))
	for _, want := range []string{"a: ", "zzz: ", "another name", "above 65535", "empty: ", "no content", "typed: ", "x.Y"} {
		if !strings.Contains(why, want) {
			t.Errorf("the refusal does not say %q:\n%s", want, why)
		}
	}
	if w := st.workload("a"); w == nil || w.CanonicalRev != "1" {
		t.Errorf("the last good value was lost: %+v", w)
	}
	if st.workload("b") == nil {
		t.Error("what was good beside the garbage did not take effect")
	}
	if st.workload("zzz") != nil {
		t.Error("garbage took effect")
	}
	if why := s.say(t, "type.googleapis.com/what.Ever", nil); !strings.Contains(why, "not subscribed") {
		t.Errorf("an unknown type: %q", why)
	}
	var many []*discoveryv3.Resource
	for range 1000 {
		many = append(many, junk("x", wire.TypeAddress))
	}
	if why := s.say(t, wire.TypeAddress, nil, many...); len(why) > 2000 || !strings.Contains(why, "and 995 more") {
		t.Errorf("a refusal of %d bytes", len(why))
	}
	if why := s.say(t, wire.TypeAddress, nil, a("2")); why != "" || st.workload("a").CanonicalRev != "2" {
		t.Errorf("after the garbage: %s", why)
	}
	if why := s.say(t, wire.TypeAuthorization, nil); why != "" {
		t.Error(why)
	}
	waitSynced(t, c)

	close(s.end) // the client comes again, with the versions of what it could read
	s = <-g.streams
	if v := s.first[wire.TypeAddress].GetInitialResourceVersions(); len(v) != 2 || v["a"] != "v2" || v["b"] != "v1" {
		t.Errorf("reconnected with %v", v)
	}
	close(s.end)
}

// A policy that cannot be read must not be a policy that is not there.
func TestUnreadablePolicyDenies(t *testing.T) {
	g, conn := startGarbler(t)
	st := newStore()
	runClient(t, subscribe.Options{Conn: conn, Handler: st})
	s := <-g.streams
	good := res(t, "shop/good", "v1", wire.TypeAuthorization, wire.EncodePolicy(&model.Policy{Name: "good", Namespace: "shop", Scope: model.ScopeNamespace}))
	if why := s.say(t, wire.TypeAuthorization, nil, good, junk("shop/new", wire.TypeAuthorization)); !strings.Contains(why, "shop/new") {
		t.Errorf("not refused: %q", why)
	}
	p := st.policy("shop/new")
	if p == nil || p.Action != model.Deny || p.Unsupported == "" || p.Scope != model.ScopeNamespace {
		t.Fatalf("in its place stands %+v, want a policy that denies", p)
	}
	if why := s.say(t, wire.TypeAuthorization, nil, junk("shop/good", wire.TypeAuthorization)); why == "" {
		t.Error("not refused")
	}
	if p := st.policy("shop/good"); p == nil || p.Unsupported != "" {
		t.Errorf("the last good one was replaced by %+v", p)
	}

	// While the client is away the unreadable policy is deleted; nobody could tell it so by a version.
	close(s.end)
	s = <-g.streams
	if v := s.first[wire.TypeAuthorization].GetInitialResourceVersions(); len(v) != 1 || v["shop/good"] != "v1" {
		t.Errorf("reconnected with %v", v)
	}
	if why := s.say(t, wire.TypeAuthorization, nil); why != "" {
		t.Error(why)
	}
	if p := st.policy("shop/new"); p != nil {
		t.Errorf("%+v still denies", p)
	}
	// It comes as garbage and is then repaired, and removed.
	s.say(t, wire.TypeAuthorization, nil, junk("shop/new", wire.TypeAuthorization))
	s.say(t, wire.TypeAuthorization, nil, res(t, "shop/new", "v2", wire.TypeAuthorization, wire.EncodePolicy(&model.Policy{Name: "new", Namespace: "shop"})))
	if p := st.policy("shop/new"); p == nil || p.Unsupported != "" {
		t.Errorf("after the repair: %+v", p)
	}
	s.say(t, wire.TypeAuthorization, []string{"shop/new"})
	if p := st.policy("shop/new"); p != nil {
		t.Errorf("after the removal: %+v", p)
	}
	close(s.end)
}

func TestClientNeedsItsOptions(t *testing.T) {
	if _, err := subscribe.New(subscribe.Options{}); err == nil {
		t.Error("made without a connection")
	}
}

func TestClientKeepsTryingQuietly(t *testing.T) {
	r := newRig(t)
	_, at, stop := r.serve(t, anyPort, Options{})
	stop() // nobody listens there any more
	st := newStore()
	c := runClient(t, subscribe.Options{Conn: r.dial(t, at, ca.MintOptions{Node: "n1"}), Handler: st})
	s, _, _ := r.serve(t, at, Options{})
	s.SetSnapshot(mesh("a"))
	waitSynced(t, c)
}

// Connections are ended after a while, so that tokens are checked again: nothing is sent twice.
func TestReconnectByAge(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 6 s")
	}
	t.Parallel()
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{MaxConnectionAge: 300 * time.Millisecond})
	s.SetSnapshot(mesh("a", "b", "svc:cart", "pol:p"))
	st := newStore()
	connects := make(chan struct{}, 100)
	c := runClient(t, subscribe.Options{Conn: r.dial(t, at, ca.MintOptions{Node: "n1"}), Handler: st, OnConnect: func() { connects <- struct{}{} }})
	waitSynced(t, c)
	wantTranscript(t, st, "shop/p (initial)\na b shop/cart (initial)")
	for range 2 {
		select {
		case <-connects:
		case <-time.After(20 * time.Second):
			t.Fatal("the connection was never ended")
		}
	}
	s.SetSnapshot(mesh("a", "b=2", "svc:cart", "pol:p"))
	wantTranscript(t, st, "b")
}
