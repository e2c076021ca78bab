package handover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Two processes in PID namespaces of their own do not see each other. A third one that sees both, and knows who they
// are, vouches: each shows it its end of their socket, of which the kernel says who is at the other.

// ErrNoVoucher: nobody is there who could vouch.
var ErrNoVoucher = errors.New("nobody vouches for the other side")

// vouchTimeout bounds a question.
const vouchTimeout = 2 * time.Second

// acceptPause is between failures to accept.
const acceptPause = 100 * time.Millisecond

// vouched is the answer to somebody who may; any other says why not.
const vouched = "ok"

// VoucherBeside is the socket of a voucher that is an agent, beside its socket for ztunnels.
func VoucherBeside(zds string) string { return filepath.Join(filepath.Dir(zds), "vouch.sock") }

// Vouch answers questions at the socket at path, which only the caller's user may ask, until ctx ends. knows refuses
// a process by an error; it must be of that user, too.
func Vouch(ctx context.Context, path string, knows func(pid int) error, log *zap.Logger) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove the socket of a former voucher: %w", err)
	}
	ln, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("vouch for ztunnels: %w", err)
	}
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	for {
		c, err := ln.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("vouch for ztunnels: %w", err)
		case err != nil: // out of descriptors: who asks meanwhile drains
			log.Warn("vouch for ztunnels", zap.Error(err))
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		go func() {
			defer c.Close()
			answer := vouched
			if err := judge(c, knows); err != nil {
				log.Warn("a process may not hand over or take over", zap.Error(err))
				answer = err.Error()
			}
			_, _ = c.Write([]byte(answer[:min(len(answer), mostShort)]))
		}()
	}
}

// judge looks at who is at the other end of the socket that c shows.
func judge(c *net.UnixConn, knows func(pid int) error) error {
	if err := c.SetDeadline(time.Now().Add(vouchTimeout)); err != nil {
		return err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	var b [1]byte
	_, n, _, _, err := c.ReadMsgUnix(b[:], oob)
	if err != nil {
		return err
	}
	fds, err := rights(oob[:n])
	defer closeAll(fds)
	if err != nil || len(fds) != 1 {
		return errors.Join(err, errors.New("no socket was shown"))
	}
	return whoIs(fds[0], func(p Peer) error {
		if p.PID == 0 {
			return errors.New("the process cannot be seen from here")
		}
		return knows(p.PID)
	})
}

// AskVoucher makes Options.Vouch that asks at path. It returns ErrNoVoucher where nobody answers.
func AskVoucher(path string) func(*net.UnixConn) error {
	return func(c *net.UnixConn) error {
		conn, err := net.DialTimeout("unixpacket", path, vouchTimeout)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNoVoucher, err)
		}
		defer conn.Close()
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		if err := conn.SetDeadline(time.Now().Add(vouchTimeout)); err != nil {
			return err
		}
		var sent error
		err = raw.Control(func(fd uintptr) {
			_, _, sent = conn.(*net.UnixConn).WriteMsgUnix([]byte{0}, unix.UnixRights(int(fd)), nil) //nolint:forcetypeassert // of that network
		})
		if err = errors.Join(err, sent); err != nil {
			return fmt.Errorf("ask who is at the other end: %w", err)
		}
		b := make([]byte, mostShort)
		n, err := conn.Read(b)
		switch {
		case err != nil:
			return fmt.Errorf("ask who is at the other end: %w", err)
		case string(b[:n]) != vouched:
			return fmt.Errorf("the agent does not vouch: %s", b[:n])
		}
		return nil
	}
}
