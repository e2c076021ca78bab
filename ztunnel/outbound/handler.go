// Package outbound carries the connections that an enrolled pod opens.
//
// A connection arrives captured, with its original destination as its local address. Decide (pure) says
// where it goes: through a tunnel to the pod or waypoint that the configuration names, plainly to what is
// outside the mesh, to the pod's own application, or nowhere. The client's connection is accepted before
// its destination is known to answer, so a failure shows as a reset, as quickly as it is known. Where the
// tunnel to a chosen endpoint cannot be made, another healthy one is asked.
package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
)

const (
	tunnelPort  = 15008
	dnsPort     = 53
	dialTimeout = 10 * time.Second
)

// ownPorts in the pod's namespace are ztunnel's.
func ownPort(p uint16) bool { return p == 15001 || p == 15006 || p == 15008 || p == 15053 }

// Options of a Handler.
type Options struct {
	// Pod that connects. Required.
	Pod *pod.Pod
	// Mesh to route by. nil: the pod's state.
	Mesh Mesh
	// Flows registers connections. Required.
	Flows *flow.Table
	// Tunnels opens streams to other pods and waypoints. Required.
	Tunnels Tunnels
	// DNS answers connections to port 53 that would leave the pod in the clear, and closes them. A name
	// server inside the mesh is reached by its tunnel. nil: they are routed like all others.
	DNS func(ctx context.Context, c relay.Conn, to netip.AddrPort)
	// Direct is told of connections whose like may go past this proxy. nil: none may.
	Direct Direct
	// Retries counts connections offered to another endpoint. nil: nobody does.
	Retries prometheus.Counter
	// Ejections counts endpoints that were ejected, by service. nil: nobody does.
	Ejections *prometheus.CounterVec
	// Faults counts what Faults did, by fault and kind. nil: nobody does.
	Faults *prometheus.CounterVec
	// Log of oddities. nil: none.
	Log *zap.Logger
}

// Direct opens the direct path of this node's pods.
type Direct interface {
	// Offer says that a connection of a pod was carried plainly to another one of its node, which it dialled by its
	// address or a service's: if policy leaves nothing to decide, the next one may go directly.
	Offer(from *pod.Pod, dialled, end netip.AddrPort)
	// Drawn are the endpoints that the kernel has drawn already where it was to be one of them: what comes to the
	// proxy is for the others.
	Drawn(from *pod.Pod, dialled netip.AddrPort) []*model.Workload
}

// Handler serves one pod.
type Handler struct{ o Options }

// New makes a handler.
func New(o Options) *Handler {
	if o.Mesh == nil {
		o.Mesh = o.Pod.State
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Handler{o: o}
}

// Serve carries one captured connection, and closes it. over is called when it is over, which may be after Serve
// has returned: what moves in a tunnel needs no goroutine here.
func (h *Handler) Serve(ctx context.Context, c relay.Conn, over func()) {
	dst := netns.OriginalDst(c)
	f := &flow.Flow{Pod: h.o.Pod.Key(), PodUID: h.o.Pod.UID, Direction: flow.Outbound, Host: dst}
	f.Source = telemetry.End{Address: netns.Source(c), Workload: h.o.Pod.Key(), Identity: h.o.Pod.Identity.String()}
	f.Dest.Address = dst
	f.Labels = &telemetry.Labels{Reporter: telemetry.ReporterSource, Security: telemetry.SecurityNone}
	h.o.Flows.Open(f)
	h.o.Flows.Trace(f, "")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.OnKill(func() {
		cancel()
		relay.Reset(c)
	})
	t := &tries{Mesh: h.o.Mesh, over: over}
	failure := h.carry(ctx, f, c, dst, t)
	if t.moving {
		return
	}
	if failure != nil {
		relay.Reset(c)
	}
	t.end(f, failure)
}

// carry routes the connection and moves its bytes, or has them moved: then t is moving, and sees to the end.
func (h *Handler) carry(ctx context.Context, f *flow.Flow, c relay.Conn, dst netip.AddrPort, t *tries) *flow.Failure {
	w, failure := h.o.Pod.Workload(ctx)
	if failure != nil {
		return failure
	}
	f.Labels.Source = h.o.Pod.Labels(w)
	if dst.Addr().IsLoopback() || ownPort(dst.Port()) && hasAddress(w, dst.Addr()) {
		return &flow.Failure{Flag: telemetry.FlagNoRoute, Cause: "connection to ztunnel's own port " + dst.String() + " refused",
			Hint: "ports 15001, 15006, 15008 and 15053 of a pod belong to the mesh"}
	}
	if h.o.Direct != nil {
		t.drawn = h.o.Direct.Drawn(h.o.Pod, dst)
	}
	r := h.decide(ctx, t, w, dst)
	describe(f, r)
	h.sample(f, r.Service, dst)
	leave, failure := h.enter(r)
	if failure != nil {
		return failure
	}
	t.atEnd(leave)
	if t.fault, failure = h.harm(ctx, f, r); failure != nil {
		return failure
	}
	if t.fault.Delay > 0 {
		r = Decide(t, w, dst) // much may have changed meanwhile
	}
	for {
		describe(f, r)
		before := len(t.ends)
		failure := h.follow(ctx, f, c, w, dst, r, t)
		if t.moving {
			return nil
		}
		t.release(before)
		h.judge(ctx, f, r, failure)
		if f.IsEstablished() || ctx.Err() != nil {
			return failure
		}
		next, ok := t.next(w, dst, r, failure)
		if !ok {
			return failure
		}
		if h.o.Retries != nil {
			h.o.Retries.Inc()
		}
		h.o.Log.Debug("trying another endpoint", zap.Stringer("destination", dst), zap.Stringer("instead_of", r.Dial), zap.Error(failure))
		f.Retries++
		r = next
	}
}

// sample has the service say whether the connection begins a recorded trace.
func (h *Handler) sample(f *flow.Flow, s *model.Service, dst netip.AddrPort) {
	if s == nil || len(s.Samples) == 0 {
		return
	}
	port := dst.Port()
	if w := h.o.Mesh.ByAddress(dst.Addr()); w != nil { // dialled by its own address, and port
		_, port = flow.ServiceOf(h.o.Mesh.ServiceByHostname, w, port)
	}
	h.o.Flows.Sample(f, s, port)
}

// newcomer is how long a connection waits for its destination to become known: the controller and the news of a name
// server race.
const newcomer = 2 * time.Second

// decide routes; where the cluster has given an address to somebody of whom nothing is known yet, it waits a little.
func (h *Handler) decide(ctx context.Context, m Mesh, w *model.Workload, dst netip.AddrPort) Route {
	r := Decide(m, w, dst)
	if !r.Unknown {
		return r
	}
	ctx, cancel := context.WithTimeout(ctx, newcomer)
	defer cancel()
	for {
		changed := h.o.Pod.State.Changed()
		if r = Decide(m, w, dst); !r.Unknown {
			return r
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r
		}
	}
}

// follow takes one route. The connection is over when it returns, unless it was not even established, or t moves it.
func (h *Handler) follow(ctx context.Context, f *flow.Flow, c relay.Conn, w *model.Workload, dst netip.AddrPort, r Route, t *tries) *flow.Failure {
	if e := r.end(); e != nil {
		end, ok := h.o.Pod.State.Carry(e, r.Carriage.PerEndpoint())
		if !ok { // others came first since it was chosen
			return full(r.Service, fmt.Sprintf("its chosen endpoint has %d connections", r.Carriage.PerEndpoint()), "maxConnectionsPerEndpoint")
		}
		t.atEnd(end)
		f.Carrier = e.UID
	}
	switch r.Kind {
	case Plain:
		if dst.Port() == dnsPort && h.o.DNS != nil {
			h.o.DNS(ctx, c, dst)
			return nil
		}
		return h.plain(ctx, f, c, r, t)
	case Hairpin:
		return h.hairpin(ctx, f, c, w, r, t)
	case Tunnel:
		return h.tunnel(ctx, f, c, w, r, t)
	}
	return r.Refusal
}

// describe tells the flow where its connection goes. The other end's identity is not known before it is verified.
func describe(f *flow.Flow, r Route) {
	f.SetService(r.Service)
	if r.Dest != nil {
		f.Labels.Destination = flow.PeerOf(r.Dest)
	} else if r.Waypoint != nil {
		f.Labels.Destination = flow.PeerOf(r.Waypoint)
	}
	f.Labels.Destination.Principal = ""
	f.Dest = flow.EndOf(r.Dest, r.Dial, identity.Identity{})
	if r.Kind == Tunnel {
		f.Dest.Address = r.Authority
	}
	if r.Waypoint != nil {
		f.Via = r.Waypoint.Namespace + "/" + r.Waypoint.Name
	}
}

func (h *Handler) plain(ctx context.Context, f *flow.Flow, c relay.Conn, r Route, t *tries) *flow.Failure {
	server, err := dial(ctx, t.timeout(r), func(ctx context.Context) (relay.Conn, error) { return h.o.Pod.Network.Dial(ctx, r.Dial) })
	if err != nil {
		return flow.Dial(r.Dial.String(), err)
	}
	return h.move(f, c, server, r, t)
}

// hairpin reaches the pod's own application, which a service of its own led back to. It stays inside the
// pod, and so is no mutual TLS, but the pod's policies hold as for any other client.
func (h *Handler) hairpin(ctx context.Context, f *flow.Flow, c relay.Conn, w *model.Workload, r Route, t *tries) *flow.Failure {
	conn := policy.Conn{Source: h.o.Pod.Identity, SourceIP: r.Dial.Addr(), Dest: r.Dial}
	f.Govern(conn)
	v := h.o.Pod.State.Decide(w, conn)
	f.DryRun = v.DryRun
	if !v.Allowed {
		return flow.Denied(v.Policy, v.Reason)
	}
	server, err := dial(ctx, dialTimeout, func(ctx context.Context) (relay.Conn, error) {
		return h.o.Pod.Network.DialApp(ctx, netip.Addr{}, r.Dial)
	})
	if err != nil {
		return flow.Dial("the pod's own application at "+r.Dial.String(), err)
	}
	return h.move(f, c, server, r, t)
}

func (h *Handler) tunnel(ctx context.Context, f *flow.Flow, c relay.Conn, w *model.Workload, r Route, t *tries) *flow.Failure {
	dctx, cancel := context.WithTimeout(ctx, t.timeout(r))
	stream, err := h.o.Tunnels.Open(dctx, Request{
		Source: h.o.Pod.Identity, Client: f.Source.Address, From: w, Dial: r.Dial, Authority: r.Authority, Expect: r.Expect, Service: f.Service, Trace: f.Trace.Header(),
	})
	cancel()
	if err != nil {
		return tunnelFailure(r, err)
	}
	// The stream exists only on a verified connection: from here on the label is true.
	f.Labels.Security = telemetry.SecurityMutualTLS
	f.Dest.Identity = r.Expect.String()
	f.Labels.Destination.Principal = f.Dest.Identity
	f.OnKill(stream.Reset)
	f.Established()
	if h.o.Direct != nil && r.Plainly() && r.Dest.Node == w.Node {
		h.o.Direct.Offer(h.o.Pod, f.Host, r.Authority)
	}
	if r.Carriage != nil {
		t.atEnd(h.attend(f, r, c))
	}
	if t.fault.Slow() {
		f.OnKill(func() {
			stream.Reset()
			relay.Reset(c)
		})
		return h.paced(f, c, stream, r, t.fault)
	}
	t.moving = true
	stream.Start(c, f, t.whenOver(f))
	return nil
}

func (h *Handler) move(f *flow.Flow, c, server relay.Conn, r Route, t *tries) *flow.Failure {
	f.OnKill(func() {
		relay.Reset(c)
		relay.Reset(server)
	})
	f.Established()
	if r.Carriage != nil {
		t.atEnd(h.attend(f, r, c, server))
	}
	if t.fault.Slow() {
		return h.paced(f, c, server, r, t.fault)
	}
	return flow.Broken(relay.TCP(c, server, &f.Sent, &f.Received))
}

func dial(ctx context.Context, limit time.Duration, f func(context.Context) (relay.Conn, error)) (relay.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx)
}

func hasAddress(w *model.Workload, a netip.Addr) bool {
	for _, x := range w.Addresses {
		if x == a {
			return true
		}
	}
	return false
}
