package tunnel

import (
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

func TestBaggage(t *testing.T) {
	for _, c := range []struct {
		w    model.Workload
		want string
	}{
		{model.Workload{Name: "cart-1", Namespace: "shop"}, "k8s.namespace.name=shop,k8s.pod.name=cart-1"},
		{model.Workload{Name: "cart-1", Namespace: "shop", OwnerKind: "deployment", OwnerName: "cart", Cluster: "c1", CanonicalName: "cart", CanonicalRev: "v1",
			Locality: model.Locality{Region: "eu", Zone: "eu-1"}},
			"k8s.cluster.name=c1,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart,service.version=v1,cloud.region=eu,cloud.availability_zone=eu-1"},
		{model.Workload{Name: "x", Namespace: "shop", CanonicalName: "a b,c;d"}, "k8s.namespace.name=shop,k8s.pod.name=x,service.name=a%20b%2Cc%3Bd"},
	} {
		if got := baggage(&c.w); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestForwarded(t *testing.T) {
	for want, c := range map[string]struct{ client, service string }{
		`for="10.0.0.1:4000"`:                 {"10.0.0.1:4000", ""},
		`for="[fd00::1]:4000";host=cart.shop`: {"[fd00::1]:4000", "cart.shop"},
	} {
		if got := forwarded(netip.MustParseAddrPort(c.client), c.service); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
