package hbone

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// The kernel tells of a reset once. When a write to the application was told, what the next read takes for
// an end is one only if the application had finished before.
func TestResetToldToAWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		finished   bool
		told, lost error
	}{
		"reset":             {false, unix.ECONNRESET, unix.ECONNRESET},
		"end, then a reset": {true, unix.EPIPE, nil},
	} {
		t.Run(name, func(t *testing.T) {
			app, near := tcpPair(t)
			raw, err := near.SyscallConn()
			must(t, err)
			s := &Stream{}
			p := &splice{k: newSink(s, near, raw, new(atomic.Uint64))}
			s.attach(p.k)
			if tc.finished {
				must(t, app.CloseWrite())
			}
			must(t, app.SetLinger(0))
			app.Close()
			eventually(t, "the reset is there", func() bool { return dead(raw) })
			p.k.write([][]byte{{'x'}})
			if !errors.Is(p.k.broken, tc.told) {
				t.Fatalf("the write was told %v", p.k.broken)
			}
			if n, err := near.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, unix.ECONNRESET) {
				t.Fatalf("the kernel told twice: %d bytes, %v", n, err)
			}
			if err := s.lost(); !errors.Is(err, tc.lost) {
				t.Errorf("what was read is %v, want %v", err, tc.lost)
			}
		})
	}
}

// A reset does not overtake data that was sent before it.
func TestResetFollowsData(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.open()
	c := s.c
	c.mu.Lock()
	c.offer(s, 100<<10)
	c.resetStream(s, engine.Cancel)
	urgent, bulk := c.takeOut()
	c.mu.Unlock()
	if len(bulk) < 100<<10+13 || bulk[len(bulk)-10] != 3 {
		t.Errorf("%d bytes of bulk do not end with the reset; %d go before them", len(bulk), len(urgent))
	}
	c.fail(ErrClosed)
}

// An application that resets while its peer sends is seen as a reset at the far end, in both directions.
func TestResetUnderLoad(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	for name, swap := range map[string]bool{"client": false, "server": true} {
		t.Run(name, func(t *testing.T) {
			p := w.splice(l, SpliceOptions{})
			a, b := p.client, p.server
			if swap {
				a, b = b, a
			}
			failed := make(chan error, 1)
			go func() {
				for buf := make([]byte, 64<<10); ; {
					if _, err := b.Write(buf); err != nil {
						failed <- err
						return
					}
				}
			}()
			for range 8 {
				if _, err := a.Read(make([]byte, 64<<10)); err != nil {
					t.Fatal(err)
				}
			}
			must(t, a.SetLinger(0))
			a.Close()
			// Its read sees the reset or, if its write was told, an end that the write's error belies.
			n, err := b.Read(make([]byte, 1))
			werr := <-failed
			if n != 0 || !errors.Is(err, unix.ECONNRESET) && !errors.Is(werr, unix.ECONNRESET) {
				t.Errorf("read %d bytes, %v; write %v", n, err, werr)
			}
			select {
			case err := <-p.result:
				if err == nil {
					t.Error("an orderly end was reported")
				}
			case <-time.After(20 * time.Second):
				t.Error("the splice goes on")
			}
		})
	}
}
