package tunnel

import (
	"context"
	"errors"
	"fmt"

	"github.com/weftmesh/weft/pkg/hbone"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
	"github.com/weftmesh/weft/ztunnel/outbound"
)

// refused explains why a stream could not be opened.
func refused(r outbound.Request, err error) *flow.Failure {
	f := &flow.Failure{Flag: telemetry.FlagConnectFailure, Cause: "cannot reach " + r.Authority.String() + " through the tunnel", Err: err}
	var answer *hbone.RefusedError
	switch {
	case errors.As(err, &answer):
		answered(f, r, answer)
	case errors.Is(err, hbone.ErrPeerIdentity):
		f.Cause = fmt.Sprintf("%s is not %s", r.Dial, r.Expect)
		f.Hint = "the address may have been given to another pod, or its certificate is of another mesh: see weftctl get certificates on its node"
	case errors.Is(err, hbone.ErrHandshake):
		f.Cause = "TLS handshake with " + r.Dial.String() + " failed"
		f.Hint = "one side's certificate may have expired, or the roots differ: see weftctl get certificates"
	case errors.Is(err, hbone.ErrDial):
		f.Hint = flow.Dial("", err).Hint
		if f.Hint == "" {
			f.Hint = "the pod or its node's ztunnel may be gone"
		}
	case errors.Is(err, hbone.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		f.Hint = "no answer: the destination's ztunnel is there but could not reach the application in time"
	}
	return f
}

// answered explains a reply other than 200.
func answered(f *flow.Failure, r outbound.Request, a *hbone.RefusedError) {
	f.Err = nil
	f.Cause = fmt.Sprintf("%s answered %d", r.Dial, a.Status)
	if a.Reason != "" {
		f.Cause += ": " + a.Reason
	}
	switch a.Status {
	case 401, 403:
		f.Flag = telemetry.FlagDenied
		f.Hint = "a policy of the destination refuses this caller: weftctl why SOURCE DESTINATION:PORT shows which"
	case 400:
		f.Hint = "the destination's ztunnel does not serve that address: this node's configuration may be old, or the address has changed hands"
	case 404:
		f.Hint = "the waypoint does not know that destination: see the status of its Gateway and routes"
	case 503:
		f.Hint = "the application does not listen on that port, or nothing behind the waypoint is ready"
	default:
		f.Hint = "see the log of the destination's ztunnel or waypoint"
	}
}

// broken explains how a spliced connection ended; the application is the client of an outbound stream and
// the server of an inbound one.
func broken(err error, appIsClient bool) error {
	if err == nil {
		return nil
	}
	byApp := errors.Is(err, hbone.ErrApp)
	f := &flow.Failure{Flag: telemetry.FlagUpstreamReset, Cause: "the destination's side reset the connection", Err: err}
	if byApp == appIsClient {
		f.Flag, f.Cause = telemetry.FlagClientReset, "the client's side reset the connection"
	}
	switch {
	case errors.Is(err, hbone.ErrExpired):
		f.Cause, f.Hint = "the tunnel's certificate expired", "see whether certificates are being renewed: weftctl get certificates"
	case errors.Is(err, hbone.ErrConn):
		f.Cause, f.Hint = "the tunnel between the nodes broke", "the other side's ztunnel may have been restarted, or the network lost"
	}
	return f
}
