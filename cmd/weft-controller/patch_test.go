package main

import (
	"fmt"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
)

const patchYAML = `apiVersion: weft.dev/v1alpha1
kind: EnvoyPatch
metadata: {name: limit, namespace: shop}
spec:
  targetRefs: [{kind: Service, name: cart}]
  patches: [{type: Cluster, operations: [{op: add, path: /per_connection_buffer_limit_bytes, value: %d}]}]
`

// The status of a patch says whether a waypoint has accepted it, and else in whose words it has not.
func TestStatusOfPatches(t *testing.T) {
	b := newBench(t)
	b.write("src/gateway.yaml", gatewayYAML)
	b.write("src/services.yaml", service("cart", 80, ", labels: {weft.dev/use-waypoint: way}"))
	b.write("src/patch.yaml", fmt.Sprintf(patchYAML, 4096))
	address, _ := b.start()
	says := func(want, words string) func() bool {
		return func() bool {
			for _, c := range b.status("EnvoyPatch", "shop", "limit").Conditions {
				if c.Type == "Enforced" {
					return fmt.Sprint(c.Status, "/", c.Reason) == want && strings.Contains(c.Message, words)
				}
			}
			return false
		}
	}
	eventually(t, "nobody has tried it", says("False/Untried", "no pod that is ready"))
	e := b.envoy(address)
	pump := func(done func() bool) func() bool {
		return func() bool {
			for {
				select {
				case r := <-e.got:
					e.limit(r)
				default:
					return done()
				}
			}
		}
	}
	eventually(t, "it is accepted", pump(says("True/Enforced", "waypoint shop/way")))
	b.write("src/patch.yaml", fmt.Sprintf(patchYAML, 13))
	eventually(t, "it is refused", pump(says("False/RefusedByWaypoint", "not with this limit")))
	b.write("src/patch.yaml", fmt.Sprintf(patchYAML, 14))
	eventually(t, "it is accepted again", pump(says("True/Enforced", "waypoint shop/way")))
}

// limit answers a response as a waypoint that cannot bear the limit of 13.
func (e *envoy) limit(r *discoveryv3.DeltaDiscoveryResponse) {
	for _, res := range r.GetResources() {
		c := &clusterv3.Cluster{}
		if err := res.GetResource().UnmarshalTo(c); err == nil && c.GetPerConnectionBufferLimitBytes().GetValue() == 13 {
			e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(),
				ErrorDetail: &status.Status{Code: 3, Message: "tried before it is served: not with this limit"}})
			return
		}
	}
	e.ack(r)
}
