package main

import (
	"strings"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
)

// A service that Envoy refuses is found, named in the object's status and left out; the others are served,
// and once it is mended it is served as well.
func TestRefusalIsFoundAndTold(t *testing.T) {
	b := newBench(t)
	const use = ", labels: {weft.dev/use-waypoint: way}"
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("src/services.yaml", service("cart", 80, use)+service("catalog", 80, use))
	address, _ := b.start()
	eventually(t, "the objects are read", func() bool { return b.page("/ready") != "" })
	e := b.envoy(address)
	// This Envoy dislikes the port 99.
	pump := func(done func() bool) func() bool {
		return func() bool {
			for {
				select {
				case r := <-e.got:
					e.judge(r)
				default:
					return done()
				}
			}
		}
	}
	eventually(t, "both are served", pump(func() bool { return e.has("cart") && e.has("catalog") }))
	b.write("src/services.yaml", service("cart", 99, use)+service("catalog", 80, use)+service("pay", 80, use))
	told := func() bool {
		for _, c := range b.status("Service", "shop", "cart").Conditions {
			if c.Reason == "RefusedByWaypoint" && c.Status == "False" && strings.Contains(c.Message, "waypoint shop/way") {
				return strings.Contains(b.read("state/status/service/shop_cart.yaml"), "RefusedByWaypoint")
			}
		}
		return false
	}
	eventually(t, "the refused one is named", pump(told))
	eventually(t, "the new one beside it is served", pump(func() bool { return e.has("pay") && e.has("catalog") }))
	// While the cause is searched others are held too.
	eventually(t, "nobody else is said to be refused", pump(func() bool {
		for _, name := range []string{"catalog", "pay"} {
			for _, c := range b.status("Service", "shop", name).Conditions {
				if c.Reason == "RefusedByWaypoint" {
					return false
				}
			}
		}
		return told()
	}))
	if !strings.Contains(b.page("/metrics"), `weft_xds_nacks_total{type="Cluster"}`) {
		t.Error("the refusal was not counted")
	}
	b.write("src/services.yaml", service("cart", 80, use)+service("catalog", 80, use)+service("pay", 80, use))
	eventually(t, "nothing is refused any more", pump(func() bool { return !told() && e.has("cart") }))
}

// judge answers a response as an Envoy that cannot bear clusters of port 99.
func (e *envoy) judge(r *discoveryv3.DeltaDiscoveryResponse) {
	for _, res := range r.GetResources() {
		if strings.Contains(res.GetName(), "99") {
			e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(),
				ErrorDetail: &status.Status{Code: 3, Message: "cluster " + res.GetName() + ": not with this port"}})
			return
		}
	}
	for _, res := range r.GetResources() {
		e.clusters[res.GetName()] = true
	}
	for _, name := range r.GetRemovedResources() {
		delete(e.clusters, name)
	}
	e.ack(r)
}
