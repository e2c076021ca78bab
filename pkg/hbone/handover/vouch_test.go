package handover

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
)

// pair is a connection over a socket in the file system, so that its ends have credentials.
func pair(t *testing.T, dir string) (near, far *net.UnixConn) {
	t.Helper()
	path := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	far, err = l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); far.Close() })
	return c.(*net.UnixConn), far
}

// A process is vouched for if the voucher knows it, whichever end asks, and without a voucher the cgroup decides.
func TestVouch(t *testing.T) {
	dir := private(t)
	near, far := pair(t, dir)
	path := VoucherBeside(filepath.Join(dir, "zds.sock"))
	o := Options{Vouch: AskVoucher(path), Allow: func(Peer) error { return errors.New("by its cgroup") }}.withDefaults()
	if err := peerOf(near, o); err == nil || !strings.Contains(err.Error(), "by its cgroup") {
		t.Errorf("without a voucher: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	var refuse atomic.Bool
	var asked atomic.Int32
	go func() {
		over <- Vouch(ctx, path, func(pid int) error {
			switch asked.Add(1); {
			case pid != os.Getpid():
				return errors.New("somebody else")
			case refuse.Load():
				return errors.New("not a ztunnel")
			}
			return nil
		}, zap.NewNop())
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if i, err := os.Stat(path); err == nil && i.Mode().Perm() == 0o600 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nobody vouches")
		}
	}
	for _, c := range []*net.UnixConn{near, far} {
		if err := peerOf(c, o); err != nil {
			t.Error(err)
		}
	}
	refuse.Store(true)
	if err := peerOf(far, o); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "not a ztunnel") {
		t.Errorf("got %v", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
