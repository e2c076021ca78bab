// Package inbound carries connections to the application of an enrolled pod: out of tunnels (HBONE) and,
// where policy lets callers in without an identity, as they are.
//
// A CONNECT must name an address of this pod and an application's port. Its caller is who the verified
// certificate of the connection says. Policy is asked, then the application is dialled over loopback with
// the client's address as the source, and only then the CONNECT is answered: 200, or 400 for a request
// that is wrong, 401 for one that a policy refuses, 503 where the application cannot be reached.
package inbound

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/policy"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// appTimeout bounds the connection to the application, over loopback.
const appTimeout = 5 * time.Second

// Stream is an accepted tunnel stream.
type Stream interface {
	// Start has bytes moved between the stream and the application until both directions have ended, and both
	// closed, and counted in f. It does not wait: done is called then.
	Start(app relay.Conn, f *flow.Flow, done func(error))
	// Reset cuts the stream. It may be called at any time.
	Reset()
}

// Connect is a CONNECT request that waits for its answer. Peer's identity is that of the verified certificate.
type Connect interface {
	Authority() string
	Header(name string) string
	Peer() (identity.Identity, netip.AddrPort)
	Accept() (Stream, error)
	Refuse(status int, reason string)
}

// Options of a Handler.
type Options struct {
	// Pod that is called. Required.
	Pod *pod.Pod
	// Flows registers connections. Required.
	Flows *flow.Table
	// Log of oddities. nil: none.
	Log *zap.Logger
}

// Handler serves one pod.
type Handler struct{ o Options }

// New makes a handler.
func New(o Options) *Handler {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Handler{o: o}
}

// Tunnelled carries one CONNECT. It returns when its stream moves, or is over.
func (h *Handler) Tunnelled(ctx context.Context, r Connect) {
	id, peer := r.Peer()
	f := h.flow(flow.Inbound, peer)
	f.Source.Identity = id.String()
	f.Labels.Source.Principal = f.Source.Identity
	f.Labels.Security = telemetry.SecurityMutualTLS // r exists only on a verified connection
	f.Dest.Identity = h.o.Pod.Identity.String()
	h.o.Flows.Open(f)
	h.o.Flows.Trace(f, r.Header("traceparent"))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.OnKill(cancel)
	app, failure := h.admit(ctx, f, r, id, peer)
	if failure != nil {
		if errors.Is(context.Cause(ctx), hbone.ErrMoved) {
			f.Forget() // it is asked again, elsewhere
			return
		}
		r.Refuse(status(failure), failure.Cause)
		f.End(failure)
		return
	}
	stream, err := r.Accept()
	if err != nil {
		relay.Reset(app)
		f.Over(err)
		return
	}
	f.OnKill(stream.Reset)
	f.Established()
	stream.Start(app, f, f.Over)
}

// admit decides on a CONNECT and reaches the application.
func (h *Handler) admit(ctx context.Context, f *flow.Flow, r Connect, id identity.Identity, peer netip.AddrPort) (relay.Conn, *flow.Failure) {
	w, failure := h.o.Pod.Workload(ctx)
	if failure != nil {
		return nil, failure
	}
	h.describe(f, w)
	dst, failure := target(r.Authority(), w.Addresses)
	if failure != nil {
		return nil, failure
	}
	f.Host, f.Dest.Address = dst, dst
	client := peer
	caller := h.o.Pod.State.ByAddress(peer.Addr())
	if speaksForOthers(caller, id) {
		if a, ok := forwardedFor(r.Header("forwarded")); ok {
			client = a
		}
	}
	if caller != nil && caller.Identity() == id {
		f.Source.Workload = caller.Namespace + "/" + caller.Name
		f.Labels.Source = flow.PeerOf(caller)
	} else {
		f.Labels.Source.Namespace = id.Namespace
	}
	f.Source.Address = client
	h.called(f, w, dst.Port())
	return h.reach(ctx, f, w, policy.Conn{Source: id, SourceIP: client.Addr(), Dest: dst}, client.Addr())
}

// Plaintext carries one captured connection that came without a tunnel, and closes it.
func (h *Handler) Plaintext(ctx context.Context, c relay.Conn) {
	dst, peer := netns.OriginalDst(c), netns.Source(c)
	f := h.flow(flow.InboundPlaintext, peer)
	f.Labels.Security = telemetry.SecurityNone
	f.Host, f.Dest.Address = dst, dst
	h.o.Flows.Open(f)
	h.o.Flows.Trace(f, "")
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f.OnKill(func() {
		cancel()
		relay.Reset(c)
	})
	app, failure := h.admitPlain(ctx, f, dst, peer)
	if failure != nil {
		relay.Reset(c)
		f.End(failure)
		return
	}
	f.OnKill(func() {
		relay.Reset(c)
		relay.Reset(app)
	})
	f.Established()
	f.End(flow.Broken(relay.TCP(c, app, &f.Sent, &f.Received)))
}

func (h *Handler) admitPlain(ctx context.Context, f *flow.Flow, dst, peer netip.AddrPort) (relay.Conn, *flow.Failure) {
	w, failure := h.o.Pod.Workload(ctx)
	if failure != nil {
		return nil, failure
	}
	h.describe(f, w)
	if failure := checkTarget(dst, w.Addresses); failure != nil {
		return nil, failure
	}
	for _, a := range w.Addresses {
		if a == peer.Addr() {
			return nil, bad("connection of the pod to itself came in from outside", "it would lead in a circle; somebody may be forging the pod's address")
		}
	}
	if caller := h.o.Pod.State.ByAddress(peer.Addr()); caller != nil {
		f.Source.Workload = caller.Namespace + "/" + caller.Name
		f.Labels.Source = flow.PeerOf(caller)
		f.Labels.Source.Principal = "" // nobody proved it
	}
	h.called(f, w, dst.Port())
	return h.reach(ctx, f, w, policy.Conn{SourceIP: peer.Addr(), Dest: dst}, peer.Addr())
}

// reach asks policy and dials the application.
func (h *Handler) reach(ctx context.Context, f *flow.Flow, w *model.Workload, c policy.Conn, client netip.Addr) (relay.Conn, *flow.Failure) {
	f.Govern(c)
	v := h.o.Pod.State.Decide(w, c)
	f.DryRun = v.DryRun
	if !v.Allowed {
		return nil, flow.Denied(v.Policy, v.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, appTimeout)
	defer cancel()
	if client.Is4() != c.Dest.Addr().Is4() {
		client = netip.Addr{}
	}
	app, err := h.o.Pod.Network.DialApp(ctx, client, c.Dest)
	if err != nil {
		return nil, flow.Dial("the application at "+c.Dest.String(), err)
	}
	return app, nil
}

func (h *Handler) flow(d flow.Direction, peer netip.AddrPort) *flow.Flow {
	f := &flow.Flow{Pod: h.o.Pod.Key(), PodUID: h.o.Pod.UID, Direction: d, Labels: &telemetry.Labels{Reporter: telemetry.ReporterDestination}}
	f.Source.Address = peer
	f.Dest.Workload = h.o.Pod.Key()
	return f
}

// called says which service a port of the pod was most likely called by.
func (h *Handler) called(f *flow.Flow, w *model.Workload, port uint16) {
	s, servicePort := flow.ServiceOf(h.o.Pod.State.ServiceByHostname, w, port)
	f.SetService(s)
	h.o.Flows.Sample(f, s, servicePort)
}

func (h *Handler) describe(f *flow.Flow, w *model.Workload) {
	f.Labels.Destination = h.o.Pod.Labels(w)
	if f.Direction == flow.InboundPlaintext {
		f.Labels.Destination.Principal = ""
	}
}
