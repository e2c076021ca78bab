package hbone

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestEcho(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.open()
	if s.PeerID() != serverID {
		t.Errorf("peer is %q", s.PeerID())
	}
	msg := random(300 << 10)
	go func() {
		s.Write(msg)
		s.CloseWrite()
	}()
	got, err := io.ReadAll(s)
	must(t, err)
	if !bytes.Equal(got, msg) {
		t.Errorf("%d bytes came back, not the %d sent", len(got), len(msg))
	}
	s.Close()
	if st := w.server.Stats(); st.Streams != 1 || st.BytesIn != uint64(len(msg)) || st.BytesOut != uint64(len(msg)) {
		t.Errorf("server counted %+v", st)
	}
}

func TestRequestTellsWhoAndWhere(t *testing.T) {
	got := make(chan *Request, 1)
	w := newWorld(t, setup{handler: func(_ context.Context, r *Request) {
		got <- r
		s, _ := r.Accept(Header{{Name: "baggage", Value: "service.name=cart"}})
		s.Close()
	}})
	s, err := w.pool.Open(context.Background(), w.key, "10.1.2.3:8080", Header{{Name: "forwarded", Value: `for="10.9.9.9:1"`}})
	must(t, err)
	defer s.Close()
	r := <-got
	if r.Authority != "10.1.2.3:8080" || r.PeerID != clientID || r.Header.Get("forwarded") != `for="10.9.9.9:1"` {
		t.Errorf("request %+v", r)
	}
	if r.Peer == nil || !r.Remote.IsValid() || r.Local != w.addr {
		t.Errorf("request %+v", r)
	}
	if s.Header().Get("baggage") != "service.name=cart" {
		t.Errorf("response header %v", s.Header())
	}
}

func TestRejection(t *testing.T) {
	w := newWorld(t, setup{handler: func(_ context.Context, r *Request) {
		if r.Authority == "unanswered:1" {
			return
		}
		r.Reject(401, "denied by shop/only-cart", nil)
		if _, err := r.Accept(nil); !errors.Is(err, ErrAnswered) {
			t.Errorf("second answer: %v", err)
		}
	}})
	_, err := w.pool.Open(context.Background(), w.key, "10.0.0.1:80", nil)
	wantErr(t, err, ErrRefused)
	var r *RefusedError
	if !errors.As(err, &r) || r.Status != 401 || r.Reason != "denied by shop/only-cart" {
		t.Errorf("got %v", err)
	}
	_, err = w.pool.Open(context.Background(), w.key, "unanswered:1", nil)
	if !errors.As(err, &r) || r.Status != 503 {
		t.Errorf("got %v", err)
	}
	eventually(t, "no stream is left", func() bool { return w.server.Conns()[0].Streams == 0 && w.pool.Conns()[0].Streams == 0 })
}

func TestSpliceBothWays(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	var toApp, toTunnel atomic.Uint64
	p := w.splice(l, SpliceOptions{ToApp: &toApp, ToTunnel: &toTunnel})
	const size = 24 << 20
	var wg sync.WaitGroup
	for _, d := range [][2]*net.TCPConn{{p.client, p.server}, {p.server, p.client}} {
		sum := make(chan [32]byte, 1)
		wg.Go(func() {
			h := sha256.New()
			io.Copy(io.MultiWriter(d[0], h), io.LimitReader(rand.NewChaCha8([32]byte{1}), size))
			d[0].CloseWrite()
			sum <- [32]byte(h.Sum(nil))
		})
		wg.Go(func() {
			h := sha256.New()
			n, err := io.Copy(h, d[1])
			if err != nil || n != size || [32]byte(h.Sum(nil)) != <-sum {
				t.Errorf("%d bytes, %v, or other bytes", n, err)
			}
		})
	}
	wg.Wait()
	must(t, <-p.result)
	if toApp.Load() != size || toTunnel.Load() != size {
		t.Errorf("counted %d to the app, %d to the tunnel", toApp.Load(), toTunnel.Load())
	}
	eventually(t, "streams end", func() bool { return w.server.Conns()[0].Streams == 0 })
}

// Either side may finish first; the other goes on.
func TestHalfClose(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	for name, swap := range map[string]bool{"client first": false, "server first": true} {
		t.Run(name, func(t *testing.T) {
			p := w.splice(l, SpliceOptions{})
			a, b := p.client, p.server
			if swap {
				a, b = b, a
			}
			a.Write([]byte("question"))
			a.CloseWrite()
			got, err := io.ReadAll(b)
			if string(got) != "question" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			b.Write([]byte("answer"))
			b.CloseWrite()
			if got, err = io.ReadAll(a); string(got) != "answer" || err != nil {
				t.Fatalf("%q, %v", got, err)
			}
			must(t, <-p.result)
		})
	}
}

// A reset on one side is a reset on the other, never an orderly end.
func TestResetBothWays(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	for name, swap := range map[string]bool{"client": false, "server": true} {
		t.Run(name, func(t *testing.T) {
			p := w.splice(l, SpliceOptions{})
			a, b := p.client, p.server
			if swap {
				a, b = b, a
			}
			a.Write([]byte("x"))
			io.ReadFull(b, make([]byte, 1))
			a.SetLinger(0)
			a.Close()
			if _, err := b.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("the other side got %v, want a reset", err)
			}
			err := <-p.result
			if swap {
				wantErr(t, err, ErrReset)
			} else {
				wantErr(t, err, ErrApp)
			}
		})
	}
}

func TestConnectionLossResetsApplications(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	p := w.splice(l, SpliceOptions{})
	w.server.CloseIf(func(c ConnInfo) bool { return c.PeerID == clientID })
	for _, c := range []*net.TCPConn{p.client, p.server} {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("got %v, want a reset", err)
		}
	}
	wantErr(t, <-p.result, ErrReset)
}

func TestSpliceEndsWithContext(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	app, inner := tcpPair(t)
	why := errors.New("policy changed")
	ctx, cancel := context.WithCancelCause(context.Background())
	s := w.open()
	result := make(chan error, 1)
	go func() { result <- s.Splice(ctx, inner, SpliceOptions{}) }()
	far, err := l.Accept()
	must(t, err)
	defer far.Close()
	cancel(why)
	wantErr(t, <-result, why)
	for _, c := range []net.Conn{app, far} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
			t.Errorf("got %v, want a reset", err)
		}
	}
}

func TestSpliceIdle(t *testing.T) {
	l := listen(t)
	w := newWorld(t, setup{handler: toApp(l.Addr().String())})
	p := w.splice(l, SpliceOptions{Idle: 50 * time.Millisecond})
	wantErr(t, <-p.result, ErrIdle)
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}
