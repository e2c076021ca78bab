package outbound

import (
	"context"
	"errors"
	"net/netip"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// Request asks for one stream through a tunnel.
type Request struct {
	Source    identity.Identity // whose certificate is shown
	Client    netip.AddrPort    // the application's socket, for the forwarded header
	From      *model.Workload   // its workload, for the baggage header
	Dial      netip.AddrPort    // the tunnel's end
	Authority netip.AddrPort    // where the stream leads
	Expect    identity.Identity // who must be at the tunnel's end
	Service   string            // host name dialled, if any
	Trace     string            // traceparent to send along
}

// Stream is an open tunnel stream whose far end has connected to its destination.
type Stream interface {
	// Duplex moves the bytes of a connection that a Fault slows down or cuts short.
	relay.Duplex
	// Start has bytes moved between the stream and client until both directions have ended, and both closed, and
	// counted in f. It does not wait: done is called then.
	Start(client relay.Conn, f *flow.Flow, done func(error))
	// Reset cuts the stream. It may be called at any time.
	Reset()
}

// Tunnels opens streams. Errors are a *flow.Failure where the reason is known.
type Tunnels interface {
	Open(ctx context.Context, r Request) (Stream, error)
}

// tunnelFailure explains err, unless Open has done so.
func tunnelFailure(r Route, err error) *flow.Failure {
	var f *flow.Failure
	if errors.As(err, &f) {
		return f
	}
	what := "the tunnel at " + r.Dial.String()
	if w := r.Waypoint; w != nil {
		what += " of waypoint " + w.Namespace + "/" + w.Name
	} else if w := r.Dest; w != nil {
		what += " of pod " + w.Namespace + "/" + w.Name
	}
	return flow.Dial(what, err)
}
