package hbone

import (
	"errors"
	"fmt"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// What can go wrong; test with errors.Is.
var (
	// ErrDial: no TCP connection to the peer's port.
	ErrDial = errors.New("cannot reach the tunnel's far end")
	// ErrHandshake: TLS failed, or the peer refused our certificate or speaks something else.
	ErrHandshake = errors.New("tunnel handshake failed")
	// ErrPeerIdentity: the peer's certificate is not acceptable. It comes together with ErrHandshake.
	ErrPeerIdentity = errors.New("peer's certificate not accepted")
	// ErrRefused: the peer answered a CONNECT, but not by 200. See RefusedError.
	ErrRefused = errors.New("connection refused by the tunnel's far end")
	// ErrTimeout: no answer in time.
	ErrTimeout = errors.New("timed out")
	// ErrReset: the stream ended without its peer having said that it had finished.
	ErrReset = errors.New("stream reset")
	// ErrConn: the tunnel connection under a stream broke. It comes together with ErrReset.
	ErrConn = errors.New("tunnel connection lost")
	// ErrExpired: the tunnel connection was closed since a certificate ended. It comes together with ErrConn.
	ErrExpired = errors.New("certificate expired")
	// ErrClosed: the Server, Pool or Stream was closed by its owner.
	ErrClosed = errors.New("closed")
	// ErrApp: the application's socket broke.
	ErrApp = errors.New("application's connection broke")
	// ErrIdle: nothing moved for as long as SpliceOptions.Idle.
	ErrIdle = errors.New("idle connection closed")
	// ErrMoved: the stream, or its connection, goes on in another process. Nothing has ended.
	ErrMoved = errors.New("moved to another process")
	// ErrAnswered: a request can be answered only once.
	ErrAnswered = errors.New("request already answered")
)

// errNoShards: crypto/tls shows its state to nobody.
var errNoShards = errors.New("only shards can take connections over (not --tunnel-tls=stdlib)")

// RefusedError is a CONNECT that was answered, but not by 200.
type RefusedError struct {
	Status int
	// Reason is the peer's, if it gave one.
	Reason string
	Header Header
}

func (e *RefusedError) Error() string {
	s := fmt.Sprintf("%v: status %d", ErrRefused, e.Status)
	if e.Reason != "" {
		return s + ": " + e.Reason
	}
	switch e.Status {
	case 400:
		return s + " (it is not the pod that was asked for, or the port is not an application's: was the address given to another pod meanwhile?)"
	case 401, 403:
		return s + " (an authorization policy of the destination forbids it)"
	case 404:
		return s + " (the waypoint has no such destination)"
	case 503:
		return s + " (the application does not listen, or has no healthy endpoint)"
	}
	return s
}

// Is makes errors.Is(err, ErrRefused) hold.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// ResetError is a stream that was reset.
type ResetError struct {
	Code engine.Code
	// Local: by this side.
	Local bool
	// Err is what befell the connection, if it was not the stream alone.
	Err error
}

func (e *ResetError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("%v: %v", ErrReset, e.Err)
	case e.Local:
		return fmt.Sprintf("%v by this side (%v)", ErrReset, e.Code)
	}
	return fmt.Sprintf("%v by the far end (%v)", ErrReset, e.Code)
}

// Is makes errors.Is(err, ErrReset) hold.
func (e *ResetError) Is(target error) bool { return target == ErrReset }

func (e *ResetError) Unwrap() error { return e.Err }

// handshakeError wraps err with ErrHandshake and a likely cause.
func handshakeError(err error, hint string) error {
	return fmt.Errorf("%w: %w (%s)", ErrHandshake, err, hint)
}

// connLost wraps the end of a connection.
func connLost(err error) error { return fmt.Errorf("%w: %w", ErrConn, err) }
