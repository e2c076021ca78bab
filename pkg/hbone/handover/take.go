package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SocketName is that of the socket in Options.Dir.
const SocketName = "handover.sock"

// Take takes over from the process that serves in o.Dir. nil: t runs. Otherwise nothing is t's, and the error,
// which wraps ErrNobody, ErrRefused or ErrWithdrawn where it is one of these, says why.
func Take(ctx context.Context, o Options, t Taker) error {
	o = o.withDefaults()
	if err := checkDir(o.Dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrNobody, err)
	} else if err != nil {
		return err
	}
	nc, err := (&net.Dialer{Timeout: o.Timeout}).DialContext(ctx, "unix", filepath.Join(o.Dir, SocketName))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	l := &line{nc.(*net.UnixConn), o.Timeout}
	defer l.Close()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	if err := peerOf(l.UnixConn, o); err != nil {
		return err
	}
	o.step("hello")
	if err := l.send(msgHello, append([]byte{protocol}, o.Version...)); err != nil {
		return err
	}
	token, parcel, err := l.receiveAll(o)
	if err != nil {
		return err
	}
	defer unix.Close(token)
	o.step("prepare")
	if err := t.Prepare(ctx, parcel); err != nil {
		l.refuse(err)
		return err
	}
	o.step("take")
	if !takeToken(token) {
		t.Discard()
		return ErrWithdrawn
	}
	// From here on it is ours. That the predecessor has forgotten its keys is worth waiting for; but if it
	// cannot say so, because it is dead, or stopped, it will not use them either: it has no token.
	o.step("taken")
	if err := l.send(msgReady, nil); err == nil {
		_, _ = l.receive(msgGo)
	}
	o.step("run")
	t.Run()
	o.step("running")
	_ = l.send(msgRunning, nil)
	return nil
}

// receiveAll receives the token and everything.
func (l *line) receiveAll(o Options) (token int, p Parcel, err error) {
	expect, err := l.receiveNumber(msgWelcome, mostFDs)
	if err != nil {
		return -1, p, err
	}
	growTable(expect)
	o.step("token")
	tokens, err := l.receiveFDs(1)
	if err != nil {
		return -1, p, err
	}
	defer func() {
		if err != nil {
			closeAll(tokens)
			clear(p.State)
		}
	}()
	o.step("state")
	if p.State, err = l.receive(msgState); err != nil {
		return -1, p, err
	}
	n, err := l.receiveNumber(msgCount, mostFDs)
	if err != nil {
		return -1, p, err
	}
	o.step("descriptors")
	p.FDs, err = l.receiveFDs(n)
	return tokens[0], p, err
}

// growTable makes room for descriptors while the predecessor still runs: growing the table of a threaded process
// takes milliseconds at every doubling.
func growTable(n int) {
	if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, n+n/4+64); err == nil {
		unix.Close(fd) // it fails beyond the limit, and then so do the descriptors
	}
}
