package launcher

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	verdicts chan error // of trials, one after the other
	mu       sync.Mutex // protects what follows
	tried    []trial.Candidate
	seen     []string // nonces, as they came to Envoy
	nacks    []*discoveryv3.DeltaDiscoveryRequest
}

func newGated(t *testing.T) *gated {
	t.Helper()
	g := &gated{t: t, verdicts: make(chan error)}
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
	g.passage = &passage{gate: newGate(try, newReporter(o), o.Logger), ctx: ctx, waiting: map[string][]*response{},
		toEnvoy: func(f *frame) error {
			r := &discoveryv3.DeltaDiscoveryResponse{}
			err := proto.Unmarshal(f.data.Materialize(), r)
			g.mu.Lock()
			defer g.mu.Unlock()
			g.seen = append(g.seen, r.GetNonce())
			return err
		},
		toServer: func(f *frame) error {
			r := &discoveryv3.DeltaDiscoveryRequest{}
			err := proto.Unmarshal(f.data.Materialize(), r)
			g.mu.Lock()
			defer g.mu.Unlock()
			g.nacks = append(g.nacks, r)
			return err
		},
	}
	t.Cleanup(func() { cancel(); g.trials.Wait() })
	return g
}

// send gives the passage a response with one resource.
func (g *gated) send(nonce string, m proto.Message) {
	g.t.Helper()
	res, err := anypb.New(m)
	if err != nil {
		g.t.Fatal(err)
	}
	text, err := proto.Marshal(&discoveryv3.DeltaDiscoveryResponse{Nonce: nonce, TypeUrl: res.GetTypeUrl(), Resources: []*discoveryv3.Resource{{Name: nonce, Resource: res}}})
	if err != nil {
		g.t.Fatal(err)
	}
	half := len(text) / 2 // as it may come
	if err := g.take(&frame{data: mem.BufferSlice{mem.SliceBuffer(text[:half]), mem.SliceBuffer(text[half:])}}); err != nil {
		g.t.Fatal(err)
	}
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
		r.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{translate.PatchMark: {}}}
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
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.nacks) != 1 || g.nacks[0].GetResponseNonce() != "7" || !strings.HasSuffix(g.nacks[0].GetTypeUrl(), "RouteConfiguration") ||
		!strings.Contains(g.nacks[0].GetErrorDetail().GetMessage(), "segfault") {
		t.Errorf("refusals: %v", g.nacks)
	}
	if len(g.tried) != 2 || g.tried[0].Routes[0].GetName() != "a" || g.tried[1].Routes[0].GetName() != "b" {
		t.Errorf("tried: %v", g.tried)
	}
}

// What the gate cannot read is not passed on.
func TestGateGarbage(t *testing.T) {
	g := newGated(t)
	if err := g.take(&frame{data: mem.BufferSlice{mem.SliceBuffer(translate.PatchMark)}}); err == nil {
		t.Error("garbage passes")
	}
	g.sees()
}
