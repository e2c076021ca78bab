package tunnel

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/outbound"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// pool makes the pool of connections that begin in a pod.
func (f *Factory) pool(t *Tunnel) *hbone.Pool {
	p := t.p
	return hbone.NewPool(hbone.PoolOptions{
		Dial: func(ctx context.Context, k hbone.Key) (net.Conn, error) { return p.Network.Dial(ctx, k.Dest) },
		TLS: func(k hbone.Key) (*tls.Config, error) {
			var expected []identity.Identity
			for _, uri := range k.SANs.List() {
				id, err := identity.Parse(uri)
				if err != nil {
					return nil, err
				}
				expected = append(expected, id)
			}
			return f.o.Certificates.ClientTLS(p.Identity, expected), nil
		},
		Vouch: t.vouch, Shards: f.o.Shards, Limits: f.o.Limits, Log: f.o.Log, Events: &f.events,
	})
}

// Open opens a stream. It is of outbound.Tunnels.
func (t *Tunnel) Open(ctx context.Context, r outbound.Request) (outbound.Stream, error) {
	t.renew()
	key := hbone.Key{Source: r.Source.String(), SANs: hbone.MakeSANSet(r.Expect.String()), SourceIP: r.Client.Addr(), Dest: r.Dial}
	s, err := t.pool.Open(ctx, key, r.Authority.String(), hbone.Header{
		{Name: "forwarded", Value: forwarded(r.Client, r.Service)},
		{Name: "baggage", Value: t.header.baggage(r.From)},
		{Name: "traceparent", Value: r.Trace},
	})
	if err != nil {
		return nil, refused(r, err)
	}
	return opened{s}, nil
}

// renew retires connections made with a certificate that has been renewed since: they end with the old one,
// and new streams should not.
func (t *Tunnel) renew() {
	now, err := t.f.o.Certificates.Current(t.p.Identity)
	if err != nil {
		return // the handshake will say so
	}
	if old := t.cert.Swap(now); old != nil && old != now {
		t.pool.Retire(func(hbone.Key) bool { return true })
	}
}

// opened is an outbound.Stream.
type opened struct{ *hbone.Stream }

func (o opened) Start(client relay.Conn, f *flow.Flow, done func(error)) {
	o.Stream.Start(context.Background(), client, splicing(f, true), func(err error) { done(broken(err, true)) })
}

// splicing has bytes counted, and the flow known to a process that takes it over.
func splicing(f *flow.Flow, appIsClient bool) hbone.SpliceOptions {
	if appIsClient {
		return hbone.SpliceOptions{ToTunnel: &f.Sent, ToApp: &f.Received, Meta: f.Meta}
	}
	return hbone.SpliceOptions{ToApp: &f.Sent, ToTunnel: &f.Received, Meta: f.Meta}
}

// headerCache holds the baggage of the pod's workload, made once for each version of it.
type headerCache struct{ p atomic.Pointer[cachedBaggage] }

type cachedBaggage struct {
	of    *model.Workload
	value string
}

func (c *headerCache) baggage(w *model.Workload) string {
	if b := c.p.Load(); b != nil && b.of == w {
		return b.value
	}
	b := &cachedBaggage{w, baggage(w)}
	c.p.Store(b)
	return b.value
}

// certificate is what the pool's connections were made with last.
type certificate = atomic.Pointer[ca.Cert]
