package hbone

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// An application that does not read stops its sender, and others on the same connection go on.
func TestBackPressure(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	var sent atomic.Uint64
	slow := w.splice(l, SpliceOptions{ToTunnel: &sent})
	go func() {
		b := make([]byte, 64<<10)
		for range 1600 { // 100 MiB
			if _, err := slow.client.Write(b); err != nil {
				return
			}
		}
		slow.client.CloseWrite()
	}()
	last := stuck(t, &sent)
	// Received and not taken: at most a window; the rest lies in the far application's socket buffers.
	if max := uint64(1<<20 + socketBuffers(t, slow.server)); last > max {
		t.Errorf("%d bytes went into the tunnel, more than %d", last, max)
	}
	quick := w.splice(l, SpliceOptions{})
	for range 100 {
		quick.client.Write(make([]byte, 1000))
		if _, err := io.ReadFull(quick.server, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	n, err := io.Copy(io.Discard, slow.server)
	if err != nil || n != 1600*64<<10 {
		t.Errorf("the slow application got %d bytes, %v", n, err)
	}
	slow.server.Close()
	must(t, <-slow.result)
}

// stuck waits until n has grown and stopped, and returns it.
func stuck(t *testing.T, n *atomic.Uint64) (last uint64) {
	t.Helper()
	since := time.Now()
	eventually(t, "the sender is stopped", func() bool {
		if now := n.Load(); now != last {
			last, since = now, time.Now()
		}
		return last > 0 && time.Since(since) > 300*time.Millisecond
	})
	return last
}

// socketBuffers is what two TCP sockets over loopback may hold at most.
func socketBuffers(t *testing.T, c *net.TCPConn) int {
	raw, err := c.SyscallConn()
	must(t, err)
	n := 0
	raw.Control(func(fd uintptr) {
		r, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		n = r
	})
	return max(n, 8<<20) + 8<<20
}

// A stalled sender notices that its application has gone.
func TestStalledSenderIsReset(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	var sent atomic.Uint64
	p := w.splice(l, SpliceOptions{ToTunnel: &sent})
	go p.client.Write(make([]byte, 64<<20))
	stuck(t, &sent)
	p.client.SetLinger(0)
	p.client.Close()
	wantErr(t, <-p.result, ErrApp)
	if _, err := io.Copy(io.Discard, p.server); err == nil {
		t.Error("the far application saw an orderly end")
	}
}

// Write and Read without Splice stop and go on, too.
func TestStreamBackPressure(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.open()
	msg := random(8 << 20)
	wrote := make(chan error, 1)
	go func() {
		_, err := s.Write(msg)
		s.CloseWrite()
		wrote <- err
	}()
	select {
	case err := <-wrote:
		t.Fatalf("8 MiB vanished into windows of 1 MiB: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	got, err := io.ReadAll(s)
	must(t, err)
	if string(got) != string(msg) {
		t.Error("other bytes came back")
	}
	must(t, <-wrote)
	s.Close()
}
