package tunnel

import (
	"context"
	"testing"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/inbound"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/state"
)

// Streams that a pod opens and those that it accepts have the driver that was chosen.
func TestBothEndsHaveTheDriver(t *testing.T) {
	shards, err := hbone.NewShards(hbone.ShardsOptions{Count: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer shards.Close()
	certs := ca.NewManager(ca.ManagerOptions{})
	defer certs.Close()
	p := &pod.Pod{Identity: identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "front"}, State: state.New("n1")}
	for want, s := range map[string]*hbone.Shards{"stdlib": nil, "records": shards} {
		tun := NewFactory(Options{Certificates: certs, Metrics: telemetry.NewMetrics(telemetry.Options{}), Shards: s}).For(p, func(context.Context, inbound.Connect) {})
		if in, out := tun.server.Driver(), tun.pool.Driver(); in != want || out != want {
			t.Errorf("server on %s, pool on %s, want %s", in, out, want)
		}
		tun.Close()
	}
}
