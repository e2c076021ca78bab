package hbone

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onShards skips a test of what only shards can do.
func onShards(t testing.TB) {
	t.Helper()
	if underTest == "stdlib" {
		t.Skip("connections on crypto/tls cannot be moved")
	}
}

// node is a pool and a server on shards of their own, as one process has them.
type node struct {
	shards *Shards
	pool   *Pool
	server *Server
}

// newNode is another process for w's connections.
func (w *world) newNode(s setup, cert tls.Certificate) *node {
	shards, err := NewShards(ShardsOptions{Count: shardsUnderTest})
	must(w.t, err)
	n := &node{shards: shards}
	n.server = NewServer(ServerOptions{Shards: n.shards, Handler: s.handler, Limits: s.server, Clock: s.clock,
		TLS: func(context.Context, net.Conn) (*tls.Config, error) { return w.ca.serverTLS(cert), nil }})
	n.pool = NewPool(PoolOptions{Shards: n.shards, Limits: s.client, Clock: s.clock,
		Dial: func(context.Context, Key) (net.Conn, error) { return nil, errors.New("this node does not dial") },
		TLS:  func(Key) (*tls.Config, error) { return w.ca.clientTLS(cert), nil }})
	w.t.Cleanup(n.close)
	return n
}

func (n *node) close() {
	n.pool.Close()
	n.server.Close()
	n.shards.Close()
}

// move moves everything from n to another node.
func (w *world) move(n *node, s setup, adopt Adopt) (next *node, pause time.Duration) {
	w.t.Helper()
	next = w.newNode(s, w.ca.leaf(w.t, serverID, time.Now().Add(time.Hour)))
	eventually(w.t, "every connection can move", func() bool {
		began := time.Now()
		f := n.shards.Freeze()
		defer f.Thaw() // does nothing after Drop
		if n.pool.Staying(f)+n.server.Staying(f) > 0 {
			return false
		}
		state, fds, _, stay := n.export(w.t, f)
		if stay > 0 {
			return false
		}
		fds = copies(w.t, fds)
		f.Drop()
		next.take(w.t, state, fds, adopt)
		pause = time.Since(began)
		return true
	})
	return next, pause
}

// parcel is all that goes to another process.
type parcel struct{ Pool, Server []ConnState }

// export describes n, in bytes as they would travel.
func (n *node) export(t testing.TB, f *Frozen) (state []byte, fds []int, moved, stay int) {
	t.Helper()
	var p parcel
	var a, b int
	p.Pool, fds, a = n.pool.Export(f, nil)
	p.Server, fds, b = n.server.Export(f, fds)
	var buf bytes.Buffer
	must(t, gob.NewEncoder(&buf).Encode(p))
	return buf.Bytes(), fds, len(p.Pool) + len(p.Server), a + b
}

// take imports what export has described and runs it.
func (n *node) take(t testing.TB, state []byte, fds []int, adopt Adopt) {
	t.Helper()
	var p parcel
	must(t, gob.NewDecoder(bytes.NewReader(state)).Decode(&p))
	a, err := n.pool.Import(p.Pool, fds, adopt)
	must(t, err)
	b, err := n.server.Import(p.Server, fds, adopt)
	must(t, err)
	a.Run()
	b.Run()
}

// copies are descriptors as another process would get them.
func copies(t testing.TB, fds []int) (to []int) {
	t.Helper()
	for _, fd := range fds {
		c, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		must(t, err)
		to = append(to, c)
	}
	return to
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}

// traffic are applications that talk through the tunnel and compare every byte.
type traffic struct {
	w     *world
	stop  chan struct{}
	wg    sync.WaitGroup
	err   atomic.Pointer[error]
	moved atomic.Uint64
	begun atomic.Int32 // streams of which something has come
}

// chatter sends messages of any size and awaits their echo, or streams without waiting.
func (x *traffic) chatter(c *net.TCPConn, seed uint64, bulk bool) {
	r, check := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	sizes := rand.New(rand.NewPCG(seed, 1))
	fail := func(err error) {
		err = fmt.Errorf("stream %d: %w", seed, err)
		x.err.CompareAndSwap(nil, &err)
	}
	sent, over := make(chan int, 4), make(chan struct{})
	x.wg.Go(func() {
		defer close(over)
		got, want := make([]byte, 256<<10), make([]byte, 256<<10)
		for first := true; ; first = false {
			n, ok := <-sent
			if !ok {
				break
			}
			if _, err := io.ReadFull(c, got[:n]); err != nil {
				fail(fmt.Errorf("read: %w", err))
				return
			}
			check.Read(want[:n])
			if !bytes.Equal(got[:n], want[:n]) {
				fail(errors.New("wrong bytes"))
				return
			}
			x.moved.Add(uint64(n))
			if first {
				x.begun.Add(1)
			}
		}
		if n, err := io.Copy(io.Discard, c); n > 0 || err != nil {
			fail(fmt.Errorf("at the end: %d bytes too many, error %w", n, err))
		}
	})
	x.wg.Go(func() {
		defer close(sent)
		buf := make([]byte, 256<<10)
		for {
			select {
			case <-x.stop:
				if err := c.CloseWrite(); err != nil {
					fail(err)
				}
				return
			case <-over:
				return
			default:
			}
			n := 1 + sizes.IntN(2000)
			if bulk {
				n = 1 + sizes.IntN(len(buf))
			} else if sizes.IntN(4) == 0 {
				time.Sleep(time.Duration(sizes.IntN(5)) * time.Millisecond)
			}
			r.Read(buf[:n])
			if _, err := c.Write(buf[:n]); err != nil {
				fail(fmt.Errorf("write: %w", err))
				return
			}
			select {
			case sent <- n:
			case <-over:
				return
			}
		}
	})
}

// more waits until more bytes have come through.
func (x *traffic) more(n uint64) {
	x.w.t.Helper()
	from := x.moved.Load()
	eventually(x.w.t, "bytes move", func() bool { return x.moved.Load() >= from+n || x.err.Load() != nil })
	x.check()
}

func (x *traffic) check() {
	x.w.t.Helper()
	if err := x.err.Load(); err != nil {
		x.w.t.Fatal(*err)
	}
}

// end has all applications finish, and sees to it that they have got everything.
func (x *traffic) end() {
	x.w.t.Helper()
	close(x.stop)
	x.wg.Wait()
	x.check()
}

// ends counts how splices have ended.
type ends struct{ well, moved, badly atomic.Int32 }

func (e *ends) done(err error) {
	switch {
	case err == nil:
		e.well.Add(1)
	case errors.Is(err, ErrMoved):
		e.moved.Add(1)
	default:
		e.badly.Add(1)
	}
}

func meta() []byte { return []byte("meta") }

// echoApp listens, and sends back what comes.
func echoApp(t testing.TB) (addr string) {
	app := listen(t)
	go serve(app, func(c net.Conn) {
		io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 32<<10))
		c.(*net.TCPConn).CloseWrite()
	})
	return app.Addr().String()
}

// toMeta is toApp for splices that can move.
func toMeta(app string, e *ends) func(context.Context, *Request) {
	return func(_ context.Context, r *Request) {
		c, err := net.Dial("tcp", app)
		if err != nil {
			r.Reject(503, err.Error(), nil)
			return
		}
		s, err := r.Accept(nil)
		if err != nil {
			c.Close()
			return
		}
		s.Start(context.Background(), c.(*net.TCPConn), SpliceOptions{Meta: meta}, e.done)
	}
}

// busy is a world with n busy streams, a few of them bulk.
func busy(t testing.TB, n int, lim Limits) (w *world, own *node, s setup, x *traffic, e *ends) {
	t.Helper()
	e = &ends{}
	s = setup{driver: "records", server: lim, client: lim, handler: toMeta(echoApp(t), e)}
	w = newWorld(t, s)
	own = &node{shards: w.pool.env.shards, pool: w.pool, server: w.server}
	x = &traffic{w: w, stop: make(chan struct{})}
	nears := make([]*net.TCPConn, n)
	for i := range nears {
		near, inner := tcpPair(t)
		near.SetDeadline(time.Now().Add(5 * time.Minute))
		w.open().Start(context.Background(), inner, SpliceOptions{Meta: meta}, e.done)
		nears[i] = near
	}
	for i, near := range nears {
		x.chatter(near, uint64(i), i%50 == 0)
	}
	return w, own, s, x, e
}

func (e *ends) adopt(t testing.TB, o SpliceOptions) Adopt {
	return func(_ *Stream, said []byte) (Adoption, bool) {
		if string(said) != "meta" {
			t.Errorf("meta is %q", said)
		}
		o.Meta = meta
		return Adoption{Options: o, Done: e.done}, true
	}
}

// Busy connections of both roles move on and on, from node to node, and nobody notices.
func TestConnectionsMove(t *testing.T) {
	onShards(t)
	const streams, moves = 200, 50
	w, at, s, x, e := busy(t, streams, Limits{RekeyAfter: 1000})
	eventually(t, "every stream is spliced", func() bool { return x.begun.Load() == streams })
	var longest time.Duration
	for range moves {
		x.more(1 << 20)
		next, pause := w.move(at, s, e.adopt(t, SpliceOptions{}))
		longest = max(longest, pause)
		if n := len(at.pool.Conns()) + len(at.server.Conns()); n > 0 {
			t.Fatalf("%d connections are left", n)
		}
		at.close()
		at = next
	}
	t.Logf("longest pause %v", longest)
	x.more(1 << 20)
	x.end()
	eventually(t, "every splice has ended", func() bool { return e.well.Load() == 2*streams })
	if b, m := e.badly.Load(), e.moved.Load(); b > 0 || m != 2*streams*moves {
		t.Errorf("%d splices have broken, %d were moved, want %d", b, m, 2*streams*moves)
	}
	at.close()
}

// A hand-over that is called off loses nothing either.
func TestThawLosesNothing(t *testing.T) {
	onShards(t)
	const streams, tries = 200, 50
	_, at, _, x, e := busy(t, streams, Limits{})
	eventually(t, "every stream is spliced", func() bool { return x.begun.Load() == streams })
	for range tries {
		x.more(1 << 20)
		f := at.shards.Freeze()
		_, fds, moved, _ := at.export(t, f)
		if moved == 0 && e.badly.Load() > 0 {
			t.Fatal("nothing is left to be moved")
		}
		fds = copies(t, fds) // a successor may have them for a while
		f.Thaw()
		x.more(1 << 18)
		closeFDs(fds)
	}
	x.end()
	eventually(t, "every splice has ended", func() bool { return e.well.Load() == 2*streams })
	if b := e.badly.Load() + e.moved.Load(); b > 0 {
		t.Errorf("%d splices have broken", b)
	}
}

// BenchmarkMove shows for how long 1,000 busy streams stand still. The applications are in the same process.
func BenchmarkMove(b *testing.B) {
	const streams = 1000
	w, at, s, x, e := busy(b, streams, Limits{})
	eventually(b, "every stream is spliced", func() bool { return x.begun.Load() == streams })
	var sum, longest time.Duration
	n := 0
	for b.Loop() {
		x.more(1 << 20)
		next, pause := w.move(at, s, e.adopt(b, SpliceOptions{}))
		sum, longest, n = sum+pause, max(longest, pause), n+1
		at.close()
		at = next
	}
	x.end()
	b.ReportMetric(float64(sum.Microseconds())/1000/float64(n), "pause-ms")
	b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
}
