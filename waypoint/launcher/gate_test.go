package launcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/waypoint/trial"
)

// gated is a passage with both its ends in a test's hands.
type gated struct {
	*passage
	t        *testing.T
	verdicts chan error     // of trials, one after the other
	patience chan time.Time // ends it
	serving  atomic.Bool
	now      atomic.Int64 // seconds

	mu    sync.Mutex // protects what follows
	tried []trial.Candidate
	seen  []string // nonces and names, as they came to Envoy
	asks  []*discoveryv3.DeltaDiscoveryRequest
}

func newGated(t *testing.T) *gated {
	t.Helper()
	g := &gated{t: t, verdicts: make(chan error), patience: make(chan time.Time)}
	g.serving.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	try := func(ctx context.Context, c trial.Candidate) error {
		g.mu.Lock()
		g.tried = append(g.tried, c)
		g.mu.Unlock()
		select {
		case err := <-g.verdicts:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o := Options{Gateway: "a/b", Controller: "c", RootFile: "r", AccessLog: telemetry.FormatOff}
	if err := o.setDefaults(); err != nil {
		t.Fatal(err)
	}
	gate := newGate(gateOptions{
		try: try, serving: func(context.Context) bool { return g.serving.Load() },
		after: func(time.Duration) <-chan time.Time { return g.patience },
		now:   func() time.Time { return time.Unix(g.now.Load(), 0) },
	}, newReporter(o), o.Logger)
	g.passage = newPassage(ctx, gate, func(f *frame) error {
		r := &discoveryv3.DeltaDiscoveryResponse{}
		err := proto.Unmarshal(f.data.Materialize(), r)
		g.mu.Lock()
		defer g.mu.Unlock()
		saw := []string{r.GetNonce()}
		for _, res := range r.GetResources()[min(1, len(r.GetResources())):] {
			saw = append(saw, res.GetName())
		}
		for _, name := range r.GetRemovedResources() {
			saw = append(saw, "-"+name)
		}
		g.seen = append(g.seen, strings.Join(saw, " "))
		return err
	}, func(f *frame) error {
		r := &discoveryv3.DeltaDiscoveryRequest{}
		err := proto.Unmarshal(f.data.Materialize(), r)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asks = append(g.asks, r)
		return err
	})
	t.Cleanup(func() { cancel(); g.trials.Wait(); gate.trials.close() })
	return g
}

// send gives the passage a response with some resources of a type and the names of what is removed.
func (g *gated) send(nonce string, first proto.Message, more ...any) {
	g.t.Helper()
	r := &discoveryv3.DeltaDiscoveryResponse{Nonce: nonce}
	for _, m := range append([]any{first}, more...) {
		switch m := m.(type) {
		case string:
			r.RemovedResources = append(r.RemovedResources, m)
		case proto.Message:
			res, err := anypb.New(m)
			if err != nil {
				g.t.Fatal(err)
			}
			name := nonce
			if n, ok := m.(interface{ GetName() string }); ok {
				name = n.GetName()
			}
			r.TypeUrl, r.Resources = res.GetTypeUrl(), append(r.Resources, &discoveryv3.Resource{Name: name, Resource: res})
		}
	}
	text, err := proto.Marshal(r)
	if err != nil {
		g.t.Fatal(err)
	}
	half := len(text) / 2 // as it may come
	if err := g.take(&frame{data: mem.BufferSlice{mem.SliceBuffer(text[:half]), mem.SliceBuffer(text[half:])}}); err != nil {
		g.t.Fatal(err)
	}
}

// answer is Envoy's.
func (g *gated) answer(r *discoveryv3.DeltaDiscoveryRequest) {
	g.t.Helper()
	text, err := proto.Marshal(r)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.ask(frameOf(text)); err != nil {
		g.t.Fatal(err)
	}
}

// hears waits for the n-th request to the controller.
func (g *gated) hears(n int) *discoveryv3.DeltaDiscoveryRequest {
	g.t.Helper()
	var out *discoveryv3.DeltaDiscoveryRequest
	testmesh.Eventually(g.t, 10*time.Second, fmt.Sprintf("request %d", n), func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.asks) != n {
			return fmt.Errorf("%d requests", len(g.asks))
		}
		out = g.asks[n-1]
		return nil
	})
	return out
}

// trial waits for the n-th to begin.
func (g *gated) trial(n int) trial.Candidate {
	g.t.Helper()
	var out trial.Candidate
	testmesh.Eventually(g.t, 10*time.Second, fmt.Sprintf("trial %d", n), func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if len(g.tried) != n {
			return fmt.Errorf("%d trials", len(g.tried))
		}
		out = g.tried[n-1]
		return nil
	})
	return out
}

func (g *gated) sees(want ...string) {
	g.t.Helper()
	testmesh.Eventually(g.t, 10*time.Second, fmt.Sprintf("Envoy sees %v", want), func() error {
		g.mu.Lock()
		defer g.mu.Unlock()
		if !slices.Equal(g.seen, want) {
			return fmt.Errorf("%v", g.seen)
		}
		return nil
	})
}

func routes(name string, patched bool) *routev3.RouteConfiguration {
	r := &routev3.RouteConfiguration{Name: name}
	if patched {
		r.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{translate.PatchMark: {
			Fields: map[string]*structpb.Value{"by": structpb.NewStringValue("shop/patch-" + name)},
		}}}
	}
	return r
}

// A response that is tried waits and its type with it; the others pass it by, and a refusal is told in Envoy's place.
func TestGate(t *testing.T) {
	g := newGated(t)
	g.send("1", routes("plain", false))
	g.sees("1")
	g.send("2", routes("a", true))
	g.send("3", routes("behind", false))
	g.send("4", &endpointv3.ClusterLoadAssignment{ClusterName: "c"})
	g.send("5", &clusterv3.Cluster{Name: translate.PatchMark}) // says the word without being patched
	g.sees("1", "4", "5")
	g.verdicts <- nil
	g.sees("1", "4", "5", "2", "3")
	g.send("6", routes("a", true)) // known to be good
	g.sees("1", "4", "5", "2", "3", "6")

	g.send("7", routes("b", true))
	g.send("8", routes("a", true))
	g.verdicts <- &trial.Refusal{Outcome: trial.Crashed, Words: "segfault"}
	g.sees("1", "4", "5", "2", "3", "6", "8")
	no := g.hears(1)
	if no.GetResponseNonce() != "7" || !strings.HasSuffix(no.GetTypeUrl(), "RouteConfiguration") || !strings.Contains(no.GetErrorDetail().GetMessage(), "segfault") {
		t.Errorf("refusal: %v", no)
	}
	if a, b := g.tried[0], g.trial(2); a.Routes[0].GetName() != "a" || b.Routes[0].GetName() != "b" {
		t.Errorf("tried: %v", g.tried)
	}
}

// Of a refused response the rest passes, removals among it, and Envoy's answer to that says the refusal. What was
// refused is remembered, with what it was tried with, for a while.
func TestGateRefusesInPart(t *testing.T) {
	g := newGated(t)
	bad := &trial.Refusal{Outcome: trial.Refused, Words: "no such command"}
	g.send("1", routes("good", false), routes("bad", true), routes("fine", false), "gone")
	g.verdicts <- bad
	g.sees("1 fine -gone")
	g.answer(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: "other", ResponseNonce: "x"})
	if r := g.hears(1); r.GetErrorDetail() != nil {
		t.Errorf("another answer is refused: %v", r)
	}
	g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "1", ResourceNamesSubscribe: []string{"more"}})
	if r := g.hears(2); r.GetErrorDetail().GetMessage() != bad.Error() || !slices.Equal(r.GetResourceNamesSubscribe(), []string{"more"}) {
		t.Errorf("answer: %v", r)
	}
	g.send("2", routes("bad", true), "gone-too") // is not tried again
	g.sees("1 fine -gone", "2 -gone-too")
	g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "2", ErrorDetail: refusing("Envoy's own")})
	if r := g.hears(3); r.GetErrorDetail().GetMessage() != "Envoy's own" {
		t.Errorf("answer: %v", r)
	}
	g.now.Store(int64(2 * memory / time.Second))
	g.send("3", routes("bad", true))
	g.trial(2)
	g.verdicts <- nil
	g.sees("1 fine -gone", "2 -gone-too", "3")
}

// A trial that hangs holds up nobody: what is not patched passes while it goes on, and so do later changes of the type.
// Its verdict is there for whoever asks again.
func TestGateDoesNotWaitForVerdicts(t *testing.T) {
	for _, verdict := range []error{nil, &trial.Refusal{Outcome: trial.Hung, Words: "no verdict"}} {
		g := newGated(t)
		g.send("1", routes("good", false), routes("hangs", true), routes("fine", false))
		g.send("2", routes("neighbour", false))
		g.patience <- time.Time{}
		g.sees("1 fine", "2")
		g.answer(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: "1"})
		w, ok := trial.ReadWithheld(g.hears(1).GetErrorDetail().GetMessage())
		if want := (translate.Source{Kind: translate.KindPatch, Namespace: "shop", Name: "patch-hangs"}); !ok || !w.Pending || !slices.Equal(w.Sources, []translate.Source{want}) {
			t.Errorf("withheld: %v", w)
		}
		g.send("3", routes("hangs", true)) // is asked for again, and waits for the same trial
		g.verdicts <- verdict
		want := []string{"1 fine", "2"}
		if verdict == nil {
			want = append(want, "3")
		} else if r := g.hears(2); r.GetErrorDetail().GetMessage() != verdict.Error() {
			t.Errorf("answer: %v", r)
		}
		g.sees(want...)
		g.trial(1)
	}
}

// While Envoy starts there is nobody to hold up, and no patch is taken back for want of time.
func TestGateWaitsForAStart(t *testing.T) {
	g := newGated(t)
	g.serving.Store(false)
	g.send("1", routes("slow", true))
	g.patience <- time.Time{}
	g.verdicts <- nil
	g.sees("1")
	if len(g.asks) > 0 {
		t.Errorf("the controller hears %v", g.asks)
	}
}

// Trials run one after the other; of those that wait for their turn the last of a type alone is run.
func TestTrialsTakeTurns(t *testing.T) {
	verdicts, began := make(chan error), make(chan string, 10)
	trials := newTrials(func(_ context.Context, c trial.Candidate) error {
		began <- c.Routes[0].GetName()
		return <-verdicts
	}, time.Now)
	of := func(kind, name string) *verdict {
		return trials.of(kind, []digest{{name[0]}}, trial.Candidate{Routes: []*routev3.RouteConfiguration{routes(name, true)}}, func() {})
	}
	first := of("routes", "a")
	if got := <-began; got != "a" {
		t.Fatalf("%s began", got)
	}
	dropped, second, third := of("routes", "b"), of("clusters", "c"), of("routes", "d")
	<-dropped.done
	if trial.OutcomeOf(dropped.err) != trial.NotRun {
		t.Errorf("dropped: %v", dropped.err)
	}
	verdicts <- nil
	<-first.done
	ran := []string{<-began}
	select {
	case name := <-began:
		t.Errorf("%s began beside %s", name, ran[0])
	default:
	}
	verdicts <- nil
	ran = append(ran, <-began)
	verdicts <- nil
	<-second.done
	<-third.done
	if slices.Sort(ran); !slices.Equal(ran, []string{"c", "d"}) {
		t.Errorf("ran %v", ran)
	}
	if of("routes", "a") != first {
		t.Error("a verdict is forgotten")
	}
	for i := range 2 * maxVerdicts {
		v := trials.of("routes", []digest{{1, byte(i)}}, trial.Candidate{Routes: []*routev3.RouteConfiguration{routes("x", true)}}, func() {})
		<-began
		verdicts <- nil
		<-v.done
	}
	if len(trials.verdicts) > maxVerdicts {
		t.Errorf("%d verdicts are remembered, want at most %d", len(trials.verdicts), maxVerdicts)
	}
	trials.close()
}

// What the gate cannot read is not passed on.
func TestGateGarbage(t *testing.T) {
	g := newGated(t)
	if err := g.take(&frame{data: mem.BufferSlice{mem.SliceBuffer(translate.PatchMark)}}); err == nil {
		t.Error("garbage passes")
	}
	g.sees()
}
