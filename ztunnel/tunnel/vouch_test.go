package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/inbound"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/state"
)

// issuer signs without a network, until it does so no more.
type issuer struct {
	*ca.Authority
	ttl time.Duration
}

func (i issuer) Issue(_ context.Context, id identity.Identity, csr []byte, _ time.Duration) ([]string, error) {
	if i.ttl == 0 {
		return nil, errors.New("the identity was withdrawn")
	}
	return i.Sign(csr, id, i.ttl)
}

// Streams for which a certificate has ended go on only between a renewed identity and a peer that the mesh
// still knows.
func TestVouch(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.1:4000")
	cart := &model.Workload{UID: "c//Pod/shop/cart-1", Name: "cart-1", Namespace: "shop", ServiceAccount: "cart",
		TrustDomain: "cluster.local", Addresses: []netip.Addr{at.Addr()}}
	other := *cart
	other.ServiceAccount = "payments"
	moved := *cart
	moved.Addresses = []netip.Addr{netip.MustParseAddr("10.0.0.2")}
	for name, tc := range map[string]struct {
		ttl  time.Duration
		mesh *model.Workload
		good bool
	}{
		"both live":                 {time.Hour, cart, true},
		"our certificate is short":  {40 * time.Second, cart, true},
		"our identity withdrawn":    {0, cart, false},
		"the peer is gone":          {time.Hour, &moved, false},
		"the address changed hands": {time.Hour, &other, false},
	} {
		t.Run(name, func(t *testing.T) {
			authority, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true})
			if err != nil {
				t.Fatal(err)
			}
			certs := ca.NewManager(ca.ManagerOptions{Issuer: issuer{authority, tc.ttl}})
			defer certs.Close()
			p := &pod.Pod{Identity: identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "front"}, State: state.New("n1")}
			p.State.Apply(state.Delta{Workloads: []*model.Workload{tc.mesh}})
			tun := NewFactory(Options{Certificates: certs, Metrics: telemetry.NewMetrics(telemetry.Options{})}).For(p, func(context.Context, inbound.Connect) {})
			defer tun.Close()
			certs.Acquire(p.Identity)
			if tc.ttl > 0 {
				if _, err := certs.Certificate(t.Context(), p.Identity); err != nil {
					t.Fatal(err)
				}
			}
			before := time.Now()
			until := tun.vouch(hbone.ConnInfo{PeerID: cart.Identity().String(), Remote: at})
			if !tc.good {
				if until.After(before) {
					t.Errorf("vouched until %v", until)
				}
				return
			}
			own, err := certs.Current(p.Identity)
			if err != nil {
				t.Fatal(err)
			}
			if tc.ttl < vouchFor {
				if !until.Equal(own.NotAfter()) {
					t.Errorf("vouched until %v, our certificate ends %v", until, own.NotAfter())
				}
			} else if until.Before(before.Add(vouchFor)) || until.After(time.Now().Add(vouchFor)) {
				t.Errorf("vouched for %v", until.Sub(before))
			}
		})
	}
}
