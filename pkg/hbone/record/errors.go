package record

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

var (
	// ErrTakeover: crypto/tls made a handshake that cannot be carried on here.
	ErrTakeover = errors.New("TLS session cannot be taken over")
	// ErrClosed: nothing can be sealed or opened any more, since an alert was sealed or the keys were exported.
	ErrClosed = errors.New("TLS session has ended")
	// ErrKeySpent: a key has protected as many records as it may. Nobody called AppendDue.
	ErrKeySpent = errors.New("TLS key has been used for too many records")
	// ErrSlot: the caller laid out a record that cannot be.
	ErrSlot = errors.New("no room for a TLS record, or no payload in it")
)

// The alerts that are made or understood here (RFC 8446, 6).
const (
	closeNotify       = tls.AlertError(0)
	unexpectedMessage = tls.AlertError(10)
	badRecordMAC      = tls.AlertError(20)
	recordOverflow    = tls.AlertError(22)
	illegalParameter  = tls.AlertError(47)
	decodeError       = tls.AlertError(50)
	protocolVersion   = tls.AlertError(70)
	internalError     = tls.AlertError(80)
	userCanceled      = tls.AlertError(90)
)

// Error is a peer's breach of the protocol, found here. A peer's own alert comes as crypto/tls gives it: a
// *net.OpError whose Op is "remote error".
type Error struct {
	// Alert is what the peer is told.
	Alert tls.AlertError
	// Reason in words.
	Reason string
}

func (e *Error) Error() string { return fmt.Sprintf("%v: %s", e.Alert, e.Reason) }

func (e *Error) Unwrap() error { return e.Alert }

func broken(a tls.AlertError, reason string) error { return &Error{Alert: a, Reason: reason} }

func remoteAlert(a tls.AlertError) error { return &net.OpError{Op: "remote error", Err: a} }

func isRemote(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
