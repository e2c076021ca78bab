package main

import (
	"context"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/xds"
	"github.com/weftmesh/weft/pkg/xds/wire"
	"google.golang.org/grpc"
)

// envoy is a subscription to clusters that is answered when the test says so.
type envoy struct {
	t        *testing.T
	stream   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	clusters map[string]bool
	got      chan *discoveryv3.DeltaDiscoveryResponse
}

func (b *bench) envoy(address string) *envoy {
	b.t.Helper()
	return b.envoyBy(b.dial(address, "shop/way", ""))
}

func (b *bench) envoyBy(conn *grpc.ClientConn) *envoy {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		b.t.Fatal(err)
	}
	e := &envoy{t: b.t, stream: s, clusters: map[string]bool{}, got: make(chan *discoveryv3.DeltaDiscoveryResponse, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			e.got <- r
		}
	}()
	b.t.Cleanup(func() { cancel(); <-done })
	e.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: xds.WaypointNode("shop", "way", "pod")}, TypeUrl: resource.ClusterType})
	return e
}

func (e *envoy) send(r *discoveryv3.DeltaDiscoveryRequest) {
	if err := e.stream.Send(r); err != nil {
		e.t.Error(err)
	}
}

// until takes and answers responses until one brings (or takes away) a service's cluster; that one is not answered.
func (e *envoy) until(service string, there bool) *discoveryv3.DeltaDiscoveryResponse {
	e.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case r := <-e.got:
			for _, res := range r.GetResources() {
				e.clusters[res.GetName()] = true
			}
			for _, name := range r.GetRemovedResources() {
				delete(e.clusters, name)
			}
			if e.has(service) == there {
				return r
			}
			e.ack(r)
		case <-deadline:
			e.t.Fatalf("clusters are %v, waited for %s: %v", e.clusters, service, there)
		}
	}
}

func (e *envoy) has(service string) bool {
	for name := range e.clusters {
		if strings.Contains(name, service) {
			return true
		}
	}
	return false
}

func (e *envoy) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

// ackAll answers whatever comes until the test ends.
func (e *envoy) ackAll() {
	ctx := e.t.Context()
	go func() {
		for {
			select {
			case r := <-e.got:
				e.ack(r)
			case <-ctx.Done():
				return
			}
		}
	}()
}

// ztunnels are told to send a service through a waypoint once its Envoy has accepted the service, not
// before; everything else of the same change reaches them at once.
func TestEnvoyFirst(t *testing.T) {
	b := newBench(t)
	b.c.orderWait = time.Hour
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("src/services.yaml", service("cart", 80, "")+service("catalog", 80, ""))
	address, _ := b.start()
	z := b.ztunnel(address)
	eventually(t, "the ztunnel has the services", func() bool { return z.service("cart") != nil && z.service("catalog") != nil })
	e := b.envoy(address)
	first := <-e.got
	e.ack(first)

	const use = ", labels: {weft.dev/use-waypoint: way}"
	b.write("src/services.yaml", service("cart", 80, use)+service("catalog", 81, ""))
	brought := e.until("cart", true)
	eventually(t, "the other service's change arrives", func() bool { return z.service("catalog").Ports[0].ServicePort == 81 })
	if z.service("cart").Waypoint != nil {
		t.Error("the ztunnel sends to the waypoint what Envoy has not accepted")
	}
	e.ack(brought)
	e.ackAll()
	eventually(t, "the ztunnel is told", func() bool { return z.service("cart").Waypoint != nil })
}

// A service that leaves a waypoint is served there until ztunnels know, and a while longer.
func TestEnvoyLast(t *testing.T) {
	b := newBench(t)
	b.c.orderWait, b.c.linger = time.Hour, 50*time.Millisecond
	const use = ", labels: {weft.dev/use-waypoint: way}"
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("src/services.yaml", service("cart", 80, use))
	address, _ := b.start()
	e := b.envoy(address)
	e.ack(e.until("cart", true))
	// A ztunnel that answers late.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	z, err := discoveryv3.NewAggregatedDiscoveryServiceClient(b.dial(address, "weft-system/weft-ztunnel", "n1")).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = z.CloseSend() }()
	answer := func(r *discoveryv3.DeltaDiscoveryRequest) {
		if err := z.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	next := func() *discoveryv3.DeltaDiscoveryResponse {
		r, err := z.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	answer(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: wire.ZtunnelNode("n1")}, TypeUrl: wire.TypeAddress})
	answer(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResponseNonce: next().GetNonce()})

	b.write("src/services.yaml", service("cart", 80, ""))
	told := next()
	if len(told.GetResources()) != 1 {
		t.Errorf("the ztunnel was told of %d resources", len(told.GetResources()))
	}
	b.write("src/services.yaml", service("cart", 80, "")+service("bank", 80, use))
	e.ack(e.until("bank", true))
	if !e.has("cart") {
		t.Error("Envoy let go of the service before the ztunnel had answered")
	}
	answer(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.TypeAddress, ResponseNonce: told.GetNonce()})
	e.until("cart", false)
}

// An Envoy that never answers is waited for only so long.
func TestHangingEnvoyIsPassedOver(t *testing.T) {
	b := newBench(t)
	b.c.orderWait = 50 * time.Millisecond
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("src/services.yaml", service("cart", 80, ""))
	address, _ := b.start()
	z := b.ztunnel(address)
	eventually(t, "the ztunnel has the service", func() bool { return z.service("cart") != nil })
	e := b.envoy(address)
	e.ack(<-e.got)
	b.write("src/services.yaml", service("cart", 80, ", labels: {weft.dev/use-waypoint: way}"))
	e.until("cart", true)
	eventually(t, "the ztunnel is told", func() bool { return z.service("cart").Waypoint != nil })
}
