package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/ca"
)

// pageYAML takes the first block of a page that has a word.
func pageYAML(t *testing.T, page, word string) *unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile("../../docs/tasks/" + page)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(string(text), -1) {
		u := &unstructured.Unstructured{}
		if !strings.Contains(block[1], word) || strings.HasPrefix(block[1], "#") {
			continue
		}
		if err := yaml.Unmarshal([]byte(block[1]), &u.Object); err != nil {
			t.Fatalf("%s: %v", page, err)
		}
		return u
	}
	t.Fatalf("%s has no block with %s", page, word)
	return nil
}

// grpcSession is the field of the other kind of route that has it.
const grpcSession = `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: talk, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: talk}]
  rules: [{backendRefs: [{name: talk, port: 80}], sessionPersistence: {type: Header, sessionName: x-talk}}]
`

// Fields that Gateway API's experimental channel alone has are taken by an API server with that channel, and reach Envoy's
// configuration.
func TestExperimentalFields(t *testing.T) {
	b := newClusterOf(t, "experimental")
	address, _ := b.start()
	b.api.Apply(gatewayYAML, cartYAML, strings.ReplaceAll(cartYAML, "cart", "talk"), strings.ReplaceAll(cartYAML, "cart", "slow"))
	eventually(t, "the service has its waypoint", func() bool { return strings.HasPrefix(b.condition(cartYAML, "weft.dev/WaypointBound"), "True/") })
	talk := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(grpcSession), &talk.Object); err != nil {
		t.Fatal(err)
	}
	c := b.clients()
	for _, u := range []*unstructured.Unstructured{pageYAML(t, "session-persistence.md", "sessionPersistence"), pageYAML(t, "timeouts-retries.md", "retry:"), talk} {
		if _, err := c.of(t, u).Create(t.Context(), u, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil {
			t.Fatalf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
		text, _ := yaml.Marshal(u.Object)
		eventually(t, u.GetName()+" is accepted", func() bool { return b.condition(string(text), "Accepted") == "True/Accepted" })
		eventually(t, u.GetName()+" is programmed", func() bool { return b.condition(string(text), "Programmed") == "True/Programmed" })
	}
	e := b.envoyBy(b.dialWith(address, b.token("shop", "way", ca.TokenAudience)))
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resource.RouteType})
	want := map[string]bool{"basket": false, "x-basket": false, "x-talk": false, "retriable_status_codes": false}
	eventually(t, "Envoy is told of sessions and retries", func() bool {
		select {
		case r := <-e.got:
			for _, res := range r.GetResources() {
				rc := &routev3.RouteConfiguration{}
				if res.GetResource().UnmarshalTo(rc) != nil {
					continue
				}
				text := rc.String()
				for word := range want {
					want[word] = want[word] || strings.Contains(text, word)
				}
			}
			e.ack(r)
		default:
		}
		for _, there := range want {
			if !there {
				return false
			}
		}
		return true
	})
}
