package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pair is a TCP connection over loopback: both its ends.
func pair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a, b = c.(*net.TCPConn), s.(*net.TCPConn)
	t.Cleanup(func() { a.Close(); b.Close() })
	for _, x := range []net.Conn{a, b} {
		x.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return a, b
}

type relayed struct {
	client, server *net.TCPConn // the far ends
	sent, received atomic.Uint64
	done           chan error
}

func start(t *testing.T) *relayed {
	t.Helper()
	r := &relayed{done: make(chan error, 1)}
	var near, far *net.TCPConn
	r.client, near = pair(t)
	far, r.server = pair(t)
	near.SetDeadline(time.Time{})
	far.SetDeadline(time.Time{})
	go func() { r.done <- TCP(near, far, &r.sent, &r.received) }()
	return r
}

func (r *relayed) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("relay did not end")
		return nil
	}
}

func TestBytesBothWays(t *testing.T) {
	for _, size := range []int{0, 1, bufferSize, bufferSize*8 + 1, 40 << 20} {
		r := start(t)
		up, down := make([]byte, size), make([]byte, size)
		rng := rand.NewChaCha8([32]byte{1})
		rng.Read(up)
		rng.Read(down)
		send := func(c *net.TCPConn, b []byte) {
			if _, err := c.Write(b); err != nil {
				t.Error(err)
			}
			c.CloseWrite()
		}
		go send(r.client, up)
		go send(r.server, down)
		got := make(chan []byte, 1)
		go func() { b, _ := io.ReadAll(r.server); got <- b }()
		b, err := io.ReadAll(r.client)
		if err != nil || !bytes.Equal(b, down) || !bytes.Equal(<-got, up) {
			t.Errorf("%d bytes: content differs, err %v", size, err)
		}
		if err := r.wait(t); err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if r.sent.Load() != uint64(size) || r.received.Load() != uint64(size) {
			t.Errorf("counted %d and %d of %d", r.sent.Load(), r.received.Load(), size)
		}
	}
}

func TestHalfClose(t *testing.T) {
	r := start(t)
	r.client.CloseWrite()
	if b, err := io.ReadAll(r.server); err != nil || len(b) != 0 {
		t.Fatalf("%q %v", b, err)
	}
	if _, err := r.server.Write([]byte("still here")); err != nil {
		t.Fatal(err)
	}
	r.server.CloseWrite()
	if b, err := io.ReadAll(r.client); err != nil || string(b) != "still here" {
		t.Errorf("%q %v", b, err)
	}
	if err := r.wait(t); err != nil {
		t.Error(err)
	}
}

func TestResetIsPassedOn(t *testing.T) {
	for _, from := range []string{"client", "server"} {
		r := start(t)
		here, there := r.client, r.server
		if from == "server" {
			here, there = there, here
		}
		if _, err := here.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(there, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		Reset(here)
		if _, err := there.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("reset of the %s arrived as %v", from, err)
		}
		side := map[string]error{"client": ErrClient, "server": ErrServer}[from]
		if err := r.wait(t); !errors.Is(err, unix.ECONNRESET) || !errors.Is(err, side) {
			t.Errorf("%s: relay ended with %v", from, err)
		}
	}
}

// A server that answers and closes without reading everything resets; its answer must still arrive.
func TestAnswerBeforeReset(t *testing.T) {
	r := start(t)
	if _, err := r.client.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r.server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.server.Write([]byte("no")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2)
	if _, err := io.ReadFull(r.client, got); err != nil || string(got) != "no" {
		t.Fatalf("%q %v", got, err)
	}
	r.server.Close() // 999 bytes unread: the kernel resets
	if _, err := r.client.Read(got); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
	r.wait(t)
}

func TestBackPressure(t *testing.T) {
	r := start(t)
	r.client.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	chunk := make([]byte, 1<<20)
	total := 0
	for total < 1<<30 {
		n, err := r.client.Write(chunk)
		total += n
		if err != nil {
			break
		}
	}
	if total >= 256<<20 {
		t.Errorf("%d MiB were taken from a client whose server does not read", total>>20)
	}
	Reset(r.client)
	r.wait(t)
}

func BenchmarkConnection(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	dial := func() (*net.TCPConn, *net.TCPConn) {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		return c.(*net.TCPConn), s.(*net.TCPConn)
	}
	b.ReportAllocs()
	for b.Loop() {
		client, near := dial()
		far, server := dial()
		var n, m atomic.Uint64
		client.CloseWrite()
		server.CloseWrite()
		if err := TCP(near, far, &n, &m); err != nil {
			b.Fatal(err)
		}
		client.Close()
		server.Close()
	}
}
