package relay

import (
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel tells of a reset once. When a write was told, the read that follows must not see an end.
func TestResetToldToAWrite(t *testing.T) {
	for name, tc := range map[string]struct {
		finished bool  // the peer had sent its FIN before
		told     error // to the write
		read     error // by the read after it
	}{
		"reset":             {false, unix.ECONNRESET, unix.ECONNRESET},
		"end, then a reset": {true, unix.EPIPE, nil},
	} {
		t.Run(name, func(t *testing.T) {
			near, far := pair(t)
			near.SetDeadline(time.Time{})
			s := &side{conn: near, name: ErrServer}
			must(t, s.init())
			if tc.finished {
				must(t, far.CloseWrite())
			}
			Reset(far)
			eventually(t, "the reset is there", s.gone)
			var told error
			must(t, s.raw.Write(func(fd uintptr) bool {
				_, told = s.write(fd, []byte("x"))
				return true
			}))
			if !errors.Is(told, tc.told) {
				t.Fatalf("the write was told %v", told)
			}
			n, err := newPump(s, nil, new(atomic.Uint64)).receive()
			if n != 0 || !errors.Is(err, tc.read) {
				t.Errorf("read %d bytes, %v; want %v", n, err, tc.read)
			}
		})
	}
}

// The same with the whole relay: the direction that reads from the resetting side is held up, so that the
// other one writes to it first.
func TestResetBehindBackPressure(t *testing.T) {
	for _, from := range []string{"client", "server"} {
		t.Run(from, func(t *testing.T) {
			r := start(t)
			here, there, count := r.client, r.server, &r.sent
			if from == "server" {
				here, there, count = there, here, &r.received
			}
			go func() { // until the reset
				b := make([]byte, 1<<20)
				for {
					if _, err := here.Write(b); err != nil {
						return
					}
				}
			}()
			stopped(t, count)
			Reset(here)
			// What is already under way may fail, too.
			_, _ = there.Write([]byte("x"))
			if _, err := io.Copy(io.Discard, there); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("reset of the %s arrived as %v", from, err)
			}
			if err := r.wait(t); err == nil {
				t.Error("an orderly end was reported")
			}
		})
	}
}

// Either side may finish first, and the other goes on, also behind back-pressure.
func TestHalfCloseBothWays(t *testing.T) {
	for _, from := range []string{"client", "server"} {
		t.Run(from, func(t *testing.T) {
			r := start(t)
			here, there := r.client, r.server
			if from == "server" {
				here, there = there, here
			}
			const size = 32 << 20
			go func() {
				_, _ = here.Write(make([]byte, size)) // a short write shows at the other end
				_ = here.CloseWrite()
			}()
			if n, err := io.Copy(io.Discard, there); n != size || err != nil {
				t.Fatalf("%d bytes, %v", n, err)
			}
			_, err := there.Write([]byte("still here"))
			must(t, err)
			must(t, there.CloseWrite())
			if b, err := io.ReadAll(here); string(b) != "still here" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			must(t, r.wait(t))
		})
	}
}

// While bytes move nothing is allocated.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	r := start(t)
	msg, got := make([]byte, 1000), make([]byte, 1000)
	turn := func() {
		if _, err := r.client.Write(msg); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r.server, got); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	if n := testing.AllocsPerRun(1000, turn); n >= 1 { // the pool may be emptied by a collection meanwhile
		t.Errorf("%v allocations for a message", n)
	}
	Reset(r.client)
	_ = r.wait(t)
}

// stopped waits until n has grown and stays as it is.
func stopped(t *testing.T, n *atomic.Uint64) {
	t.Helper()
	last, since := uint64(0), time.Now()
	eventually(t, "the sender is stopped", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 300*time.Millisecond
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
