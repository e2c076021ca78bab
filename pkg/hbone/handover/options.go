package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// Options of both sides.
type Options struct {
	// Dir is the folder of the socket, of both processes' user and nobody else's (0700). Serve makes it.
	Dir string
	// Version of the state: the other side's must be the same.
	Version string
	// Allow refuses a process by an error. Default: it must be in the caller's own cgroup.
	Allow func(Peer) error
	// Vouch, if any, is asked instead about the process at the other end of c, which may be one that this process
	// cannot see; see AskVoucher. That it has the caller's user is seen to before.
	Vouch func(c *net.UnixConn) error
	// Timeout bounds each step of the other side. Default 2 s.
	Timeout time.Duration

	step func(string) // tests: about to do so
}

func (o Options) withDefaults() Options {
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.Allow == nil {
		o.Allow = sameCgroup
	}
	if o.step == nil {
		o.step = func(string) {}
	}
	return o
}

// Parcel is what changes hands.
type Parcel struct {
	// State as the version says; at most 1 GiB.
	State []byte
	// FDs are descriptors; at most 2^20. A successor gets copies, in the same order.
	FDs []int
}

// Giver is what an old process gives away. Serve calls it from one goroutine.
type Giver interface {
	// Freeze stops all that is to be given and describes it. The descriptors stay the Giver's. Serve wipes the
	// state. If it fails everything runs on.
	Freeze(ctx context.Context) (Parcel, error)
	// Thaw goes on after Freeze: nothing was given.
	Thaw()
	// Drop forgets the keys and closes what was given, but for the listeners, which rest: it is the successor's.
	Drop()
	// Done: the successor runs. Nothing is the Giver's any more.
	Done()
	// Lost: the successor has what was dropped, but did not say in time that it runs. The listeners are the
	// Giver's again. A successor that is only slow listens besides it.
	Lost(err error)
}

// Taker is a successor. Take calls it from one goroutine.
type Taker interface {
	// Prepare makes everything ready, but neither uses keys nor moves bytes. p is the Taker's, and if it fails
	// it has closed the descriptors.
	Prepare(ctx context.Context, p Parcel) error
	// Discard closes what Prepare made: it stays the predecessor's.
	Discard()
	// Run owns everything and begins.
	Run()
}

// Why nothing changed hands.
var (
	// ErrNobody: there is no predecessor.
	ErrNobody = errors.New("nobody offers a hand-over")
	// ErrRefused: the other side will not.
	ErrRefused = errors.New("the hand-over was refused")
	// ErrWithdrawn: the predecessor went on by itself, since this side took too long.
	ErrWithdrawn = errors.New("the hand-over was withdrawn: a step took too long")
	// ErrLost: the successor had taken over and did not run.
	ErrLost = errors.New("the successor took over and does not run")
)

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}
