package xds

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// A reconnecting client that knows a thousand resources is sent a few bytes.
func TestReconnectCostsNoBytes(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(bigMesh(1000))
	conn := r.dial(t, at, ca.MintOptions{Node: "n1"})
	p := openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	first := p.recv()
	p.ack(first)
	p.cancel()
	p = openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, versions(first))
	again := p.recv()
	if len(first.GetResources()) != 1050 || proto.Size(first) < 100_000 || proto.Size(again) > 200 {
		t.Errorf("first %d resources in %d bytes, then %d bytes", len(first.GetResources()), proto.Size(first), proto.Size(again))
	}
}

// A client of everything that unsubscribes from one resource is told how that resource is now, as the
// protocol demands.
func TestUnsubscribeFromOneOfAll(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.SetSnapshot(mesh("a", "b"))
	p := openPlain(t, r.dial(t, at, ca.MintOptions{Node: "n1"}))
	p.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: "ztunnel~n1"}, TypeUrl: wire.TypeAddress, ResourceNamesSubscribe: []string{"*", "a", "gone"}})
	first := p.recv()
	expect(t, first, "a b")
	p.ack(first)
	p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResourceNamesUnsubscribe: []string{"a", "gone"}})
	again := p.recv()
	expect(t, again, "-gone a")
	p.ack(again)
	// From everything to one: it is sent what it names, and nothing is taken from it.
	p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResourceNamesSubscribe: []string{"b"}, ResourceNamesUnsubscribe: []string{"*"}})
	one := p.recv()
	expect(t, one, "b")
	p.ack(one)
	s.SetSnapshot(mesh("a=2", "b=2"))
	expect(t, p.recv(), "b")
}

// A client that answers after more changes than are remembered has to reconnect, and loses nothing.
func TestTooFarBehind(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.workloads.addresses.keep = 4
	s.SetSnapshot(mesh("a", "b", "c"))
	conn := r.dial(t, at, ca.MintOptions{Node: "n1"})
	p := openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, nil)
	first := p.recv()
	for i := range 20 {
		s.SetSnapshot(mesh(fmt.Sprintf("a=%d", i), "c", "d"))
	}
	p.ack(first)
	if err := p.err(); status.Code(err) != codes.Unavailable {
		t.Fatalf("got %v, want Unavailable", err)
	}
	p = openPlain(t, conn)
	p.subscribe("ztunnel~n1", wire.TypeAddress, versions(first))
	expect(t, p.recv(), "-b a d")
}

// wanderer is a client that answers slowly, and reconnects now and then.
type wanderer struct {
	mu    sync.Mutex
	known map[string]string
	parts []string // features
}

func (w *wanderer) run(ctx context.Context, conn *grpc.ClientConn, node string, rnd *rand.Rand) {
	for ctx.Err() == nil {
		w.stream(ctx, conn, node, rnd)
	}
}

func (w *wanderer) stream(ctx context.Context, conn *grpc.ClientConn, node string, rnd *rand.Rand) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return
	}
	w.mu.Lock()
	known := maps.Clone(w.known)
	w.mu.Unlock()
	_ = s.Send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: node, ClientFeatures: w.parts}, TypeUrl: wire.TypeAddress, InitialResourceVersions: known})
	for range rnd.IntN(20) + 1 {
		r, err := s.Recv()
		if err != nil {
			return
		}
		w.mu.Lock()
		for name, version := range versions(r) {
			w.known[name] = version
		}
		for _, name := range r.GetRemovedResources() {
			delete(w.known, name)
		}
		w.mu.Unlock()
		if rnd.IntN(3) == 0 {
			time.Sleep(time.Duration(rnd.IntN(3000)) * time.Microsecond) // a busy client, not a wait
		}
		_ = s.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResponseNonce: r.GetNonce()})
	}
}

// Whatever changes when, and however slowly clients answer: in the end each has exactly what there is.
func TestEverybodyEndsUpEqual(t *testing.T) {
	r := newRig(t)
	s, at, _ := r.serve(t, anyPort, Options{})
	s.workloads.addresses.keep = 30    // some fall too far behind
	s.workloads.addresses.partSize = 1 // a resource
	rnd := rand.New(rand.NewPCG(1, 2))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var all []*wanderer
	for i := range 5 {
		w := &wanderer{known: map[string]string{}}
		if i%2 == 0 {
			w.parts = []string{wire.TakesParts}
		}
		all = append(all, w)
		node := fmt.Sprintf("n%d", i)
		conn := r.dial(t, at, ca.MintOptions{Node: node})
		own := rand.New(rand.NewPCG(uint64(i), 3))
		wg.Go(func() { w.run(ctx, conn, "ztunnel~"+node, own) })
	}
	last := model.NewSnapshot()
	for range 300 {
		var words []string
		for i := range 12 {
			if rnd.IntN(3) > 0 {
				words = append(words, fmt.Sprintf("%c=%d", 'a'+i, rnd.IntN(3)))
			}
		}
		last = mesh(words...)
		s.SetSnapshot(last)
	}
	want := map[string]string{}
	for uid := range last.Workloads.All() {
		want[uid] = s.workloads.addresses.resources[uid].version
	}
	for i, w := range all {
		eventually(t, fmt.Sprintf("client %d has what there is", i), func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			return maps.Equal(w.known, want)
		})
	}
	eventually(t, "the server knows", s.ZtunnelsCurrent)
}

// What can wait is gathered when there are many clients; what cannot, and what rests on it, goes out at once.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDeltaCache(wire.TypeAddress, nameless)
		const clients = 1000
		out := make(chan cache.DeltaResponse, 2*clients)
		wait := func() {
			sub := stream.NewDeltaSubscription([]string{"*"}, nil, map[string]string{place: strconv.FormatUint(c.head(), 10)}, true)
			for range clients {
				if _, err := c.CreateDeltaWatch(&cache.DeltaRequest{TypeUrl: wire.TypeAddress}, sub, out); err != nil {
					t.Fatal(err)
				}
			}
		}
		pod := func(name string) change { return change{update: map[string][]byte{name: []byte(name)}} }
		told := func(want int, when string) {
			t.Helper()
			synctest.Wait()
			if len(out) != want {
				t.Errorf("%s: %d told, want %d", when, len(out), want)
			}
			for range len(out) {
				<-out
			}
		}
		do := func(f func(change) error, ch change) {
			t.Helper()
			if err := f(ch); err != nil {
				t.Fatal(err)
			}
		}
		wait()
		do(c.gather, pod("a"))
		told(clients, "the first")
		wait()
		do(c.gather, pod("b"))
		told(0, "right after it")
		if c.idle() != 0 {
			t.Error("clients seem to have what they were not told")
		}
		wait() // who comes back meanwhile waits with the others
		do(c.gather, pod("c"))
		time.Sleep(clients*perClient - time.Nanosecond)
		told(0, "shortly before the time")
		time.Sleep(time.Nanosecond)
		told(2*clients, "then")
		wait()
		do(c.gather, pod("d"))
		do(c.set, change{})
		told(clients, "something else is to be told")
		time.Sleep(time.Minute)
		told(0, "and later")
		wait()
		do(c.gather, pod("e"))
		told(clients, "after a while")
		wait()
		do(c.gather, pod("f"))
		do(c.set, pod("g"))
		told(clients, "what cannot wait")
		c.keep = 1
		wait()
		do(c.gather, pod("h"))
		for range 100 {
			do(c.gather, pod("h"))
		}
		told(clients, "the log ends")
	})
}
