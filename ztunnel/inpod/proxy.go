package inpod

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/ztunnel/dns"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/inbound"
	"github.com/weftmesh/weft/ztunnel/outbound"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/tunnel"
)

// Tunnel is one pod's end of HBONE: it opens streams and serves connections under the pod's identity.
type Tunnel interface {
	outbound.Tunnels
	// Serve speaks HBONE on an accepted connection until it ends. It closes c.
	Serve(ctx context.Context, c net.Conn)
	// Drain tells all peers to open no more streams here; living streams go on.
	Drain()
	// Close cuts what is left, and returns when no stream is served any more.
	Close()
	// Staying, Export and Import move what lives to another process: see package tunnel.
	Staying(f *hbone.Frozen) int
	Export(f *hbone.Frozen, fds []int) (st tunnel.State, all []int, stay int)
	Import(st tunnel.State, fds []int, out, in tunnel.Adopt) (run func(), err error)
}

// proxy is everything that runs for one pod.
type proxy struct {
	pod     *pod.Pod
	sockets Sockets
	tunnel  Tunnel
	flows   *flow.Table
	log     *zap.Logger
	in      *inbound.Handler
	out     *outbound.Handler
	names   *dns.Server

	listeners *Listeners
	ctx       context.Context // of the connections
	cancel    context.CancelFunc
	loops     sync.WaitGroup // accept loops
	conns     sync.WaitGroup // connections; only loops and tunnels that conns counts add to it
}

// start listens and serves. The caller stops it with drain and close.
func (p *proxy) start(a *Acceptor) error {
	l, err := p.sockets.Listen()
	if err != nil {
		return err
	}
	p.listeners = l
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.accept(a, l.Outbound, func(c relay.Conn, over func()) { p.out.Serve(p.ctx, c, over) })
	p.accept(a, l.Plaintext, func(c relay.Conn, over func()) {
		defer over()
		p.in.Plaintext(p.ctx, c)
	})
	p.accept(a, l.HBONE, func(c relay.Conn, over func()) {
		defer over()
		p.tunnel.Serve(p.ctx, c)
	})
	for _, t := range l.DNS {
		p.loops.Go(func() {
			if err := p.names.Serve(p.ctx, t); err != nil && p.ctx.Err() == nil {
				p.log.Warn("DNS of a pod stopped", zap.String("pod", p.pod.Key()), zap.Error(err))
			}
		})
	}
	return nil
}

func (p *proxy) accept(a *Acceptor, group []net.Listener, serve func(c relay.Conn, over func())) {
	for _, l := range group {
		p.loops.Go(func() {
			a.Loop(l, func(c net.Conn) {
				tcp, ok := c.(relay.Conn)
				if !ok {
					c.Close() // Sockets give TCP listeners
					return
				}
				p.conns.Add(1)
				go serve(tcp, p.conns.Done)
			})
		})
	}
}

// drain stops taking connections, and tells peers to open no streams. What lives goes on.
func (p *proxy) drain() {
	p.listeners.Close()
	p.tunnel.Drain()
	p.loops.Wait()
}

// close cuts what lives because of cause and returns when nothing of this pod runs any more.
func (p *proxy) close(cause *flow.Failure) {
	p.drain()
	p.flows.Kill(p.pod.UID, cause)
	p.cancel()                     // from here on nothing new can be dialled,
	p.flows.Kill(p.pod.UID, cause) // and what was dialled in between is in the table
	p.tunnel.Close()
	p.conns.Wait()
	p.sockets.Close()
}

// dialDNS reaches name servers for the pod.
func (p *proxy) dialDNS(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	return p.sockets.DialDNS(ctx, network, to)
}
