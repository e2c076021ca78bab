package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ends is a connection over loopback: the end of a peer and the one that the relay has.
func ends(t *testing.T) (peer, relay *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { a.Close(); b.Close() })
	return a.(*net.TCPConn), b.(*net.TCPConn)
}

type pacedRun struct {
	client, server *net.TCPConn
	sent, received atomic.Uint64
	err            chan error
}

func runPaced(t *testing.T, p Pace) *pacedRun {
	t.Helper()
	r := &pacedRun{err: make(chan error, 1)}
	var c, s *net.TCPConn
	r.client, c = ends(t)
	r.server, s = ends(t)
	go func() { r.err <- Paced(c, s, p, &r.sent, &r.received) }()
	return r
}

// Half closes pass, the last byte of either side arrives, and all is counted.
func TestPacedIsTransparent(t *testing.T) {
	r := runPaced(t, Pace{Budget: -1})
	go func() {
		_, _ = io.Copy(r.server, r.server)
		_ = r.server.CloseWrite()
	}()
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = byte(i * 7)
	}
	go func() {
		_, _ = r.client.Write(text)
		_ = r.client.CloseWrite()
	}()
	got, err := io.ReadAll(r.client)
	if err != nil || string(got) != string(text) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if err := <-r.err; err != nil || r.sent.Load() != 1<<20 || r.received.Load() != 1<<20 {
		t.Errorf("%v, %d sent, %d received", err, r.sent.Load(), r.received.Load())
	}
}

// The sum of the waits is the time that the limit asks for, whatever the chunks were.
func TestPacedWaitsForItsRate(t *testing.T) {
	var mu sync.Mutex
	var slept, longest time.Duration
	r := runPaced(t, Pace{Budget: -1, Rate: 100_000, Sleep: func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		slept, longest = slept+d, max(longest, d)
	}})
	go func() {
		_, _ = r.client.Write(make([]byte, 250_000))
		_ = r.client.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, r.server); n != 250_000 || err != nil {
		t.Fatal(n, err)
	}
	_ = r.server.CloseWrite()
	if err := <-r.err; err != nil {
		t.Fatal(err)
	}
	if want := 2500 * time.Millisecond; slept < want-time.Millisecond || slept > want+time.Millisecond {
		t.Errorf("waited %v, want %v", slept, want)
	}
	if longest > slice+time.Millisecond {
		t.Errorf("waited %v at once", longest)
	}
}

// Exactly as many bytes pass as are left, then both sides see a reset.
func TestPacedEndsWithItsBudget(t *testing.T) {
	for _, budget := range []int64{0, 1, 1000} {
		r := runPaced(t, Pace{Budget: budget})
		go func() { _, _ = r.client.Write(make([]byte, 5000)) }()
		n, err := io.Copy(io.Discard, r.server)
		if n > budget || !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("budget %d: server got %d bytes and %v", budget, n, err)
		}
		if err := <-r.err; !errors.Is(err, ErrBudget) {
			t.Errorf("budget %d: %v", budget, err)
		}
		if r.sent.Load() != uint64(budget) {
			t.Errorf("budget %d: %d passed", budget, r.sent.Load())
		}
	}
}

// What is lifted holds no more, for connections that live as well.
func TestPacedIsLifted(t *testing.T) {
	r := runPaced(t, Pace{Budget: 10, Rate: 1, Lifted: func() bool { return true }, Sleep: func(time.Duration) { t.Error("slept") }})
	go func() {
		_, _ = r.client.Write(make([]byte, 5000))
		_ = r.client.CloseWrite()
	}()
	if n, err := io.Copy(io.Discard, r.server); n != 5000 || err != nil {
		t.Error(n, err)
	}
	r.server.Close()
	if err := <-r.err; err != nil {
		t.Error(err)
	}
}

// A side that breaks is named, and the other one hears of it.
func TestPacedNamesTheSideThatBroke(t *testing.T) {
	r := runPaced(t, Pace{Budget: -1})
	Reset(r.client)
	if _, err := r.server.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("server: %v", err)
	}
	if err := <-r.err; !errors.Is(err, ErrClient) {
		t.Error(err)
	}
}
