package hbone

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// moveWorld is a world whose streams go to the applications that l accepts.
func moveWorld(t *testing.T, clock Clock) (w *world, n *node, s setup, l net.Listener) {
	t.Helper()
	onShards(t)
	l = listen(t)
	s = setup{handler: toApp(l.Addr().String()), clock: clock}
	w = newWorld(t, s)
	return w, &node{shards: w.pool.env.shards, pool: w.pool, server: w.server}, s, l
}

// adoptAll notes how the splices of clients end.
func adoptAll(o SpliceOptions, ended chan<- error) Adopt {
	return func(s *Stream, meta []byte) (Adoption, bool) {
		if string(meta) != "client" {
			return Adoption{}, true
		}
		return Adoption{Options: o, Done: func(err error) { ended <- err }}, s.PeerID() == serverID
	}
}

func clientMeta() []byte { return []byte("client") }

// spliceSlow is splice for a client whose socket takes little.
func (w *world) spliceSlow(l net.Listener, o SpliceOptions) *spliced {
	w.t.Helper()
	app, inner := tcpPair(w.t)
	must(w.t, app.SetReadBuffer(64<<10))
	must(w.t, inner.SetWriteBuffer(64<<10))
	r := &spliced{client: app, result: make(chan error, 1)}
	w.open().Start(context.Background(), inner, o, func(err error) { r.result <- err })
	c, err := l.Accept()
	must(w.t, err)
	w.t.Cleanup(func() { c.Close() })
	r.server = c.(*net.TCPConn)
	return r
}

// What a slow application has not read yet moves along, while its stream lives and when it is over already.
func TestQueuesMove(t *testing.T) {
	for _, over := range []bool{false, true} {
		w, n, s, l := moveWorld(t, nil)
		p := w.spliceSlow(l, SpliceOptions{Meta: clientMeta})
		msg := random(700 << 10)
		if over { // both directions end, and what is left is in the queue alone
			must(t, p.client.CloseWrite())
			_, err := io.Copy(io.Discard, p.server)
			must(t, err)
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := p.server.Write(msg)
			if over {
				err = p.server.CloseWrite()
			}
			wrote <- err
		}()
		must(t, <-wrote)
		ended := make(chan error, 1)
		eventually(t, "it is on its way", func() bool { return w.server.Stats().BytesIn > 0 || w.pool.Stats().BytesIn >= uint64(len(msg)) })
		n, _ = w.move(n, s, adoptAll(SpliceOptions{}, ended))
		n, _ = w.move(n, s, adoptAll(SpliceOptions{}, ended)) // again; without Meta nobody is told of the end
		if !over {
			must(t, p.server.CloseWrite())
		}
		got, err := io.ReadAll(p.client)
		must(t, err)
		if !bytes.Equal(got, msg) {
			t.Errorf("over %v: %d bytes arrive, want %d", over, len(got), len(msg))
		}
		if !over {
			must(t, p.client.CloseWrite())
		}
		wantErr(t, <-p.result, ErrMoved)
		wantErr(t, <-ended, ErrMoved)
		eventually(t, "the streams end", func() bool {
			is := append(n.pool.Conns(), n.server.Conns()...)
			return is[0].Streams+is[1].Streams == 0
		})
	}
}

// A direction that has ended stays so, the other goes on; a reset reaches the far end; both count on.
func TestHalvesMove(t *testing.T) {
	w, n, s, l := moveWorld(t, nil)
	p, q := w.splice(l, SpliceOptions{Meta: clientMeta}), w.splice(l, SpliceOptions{Meta: clientMeta})
	_, err := p.client.Write([]byte("question"))
	must(t, err)
	must(t, p.client.CloseWrite())
	got, err := io.ReadAll(p.server)
	must(t, err)
	ended := make(chan error, 2)
	o := SpliceOptions{}.counted()
	w.move(n, s, adoptAll(o, ended))
	_, err = p.server.Write([]byte("the answer"))
	must(t, err)
	must(t, p.server.CloseWrite())
	more, err := io.ReadAll(p.client)
	must(t, err)
	if string(got) != "question" || string(more) != "the answer" || o.ToTunnel.Load() != 8 || o.ToApp.Load() != 10 {
		t.Errorf("%q, then %q; %d and %d bytes are counted", got, more, o.ToTunnel.Load(), o.ToApp.Load())
	}
	must(t, <-ended)
	must(t, q.server.SetLinger(0))
	q.server.Close()
	_, err = q.client.Read(make([]byte, 1))
	if err == nil || err == io.EOF {
		t.Errorf("the reset arrives as %v", err)
	}
	wantErr(t, <-ended, ErrReset)
}

// What the importer does not want is reset at both ends; the rest of the connection goes on.
func TestUnwantedStreams(t *testing.T) {
	w, n, s, l := moveWorld(t, nil)
	p := w.splice(l, SpliceOptions{Meta: func() []byte { return []byte("unwanted") }})
	q := w.splice(l, SpliceOptions{})
	w.move(n, s, func(_ *Stream, meta []byte) (Adoption, bool) { return Adoption{}, string(meta) != "unwanted" })
	for _, c := range []*net.TCPConn{p.client, p.server} {
		if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("an unwanted stream ends by %v", err)
		}
	}
	_, err := q.client.Write([]byte("x"))
	must(t, err)
	_, err = q.server.Read(make([]byte, 1))
	must(t, err)
}

// Streams that somebody reads and writes keep their connection where it is.
func TestUsedStreamsStay(t *testing.T) {
	onShards(t)
	w := newWorld(t, setup{})
	st := w.open()
	n := &node{shards: w.pool.env.shards, pool: w.pool, server: w.server}
	f := n.shards.Freeze()
	_, fds, moved, stay := n.export(t, f)
	f.Drop()
	if moved != 0 || stay != 2 || len(fds) != 0 {
		t.Errorf("%d connections moved with %d descriptors, %d stay", moved, len(fds), stay)
	}
	_, err := st.Write([]byte("hello"))
	must(t, err)
	_, err = io.ReadFull(st, make([]byte, 5))
	must(t, err)
	must(t, st.Close())
}

// A successor that was stopped may keep its copies of the descriptors for hours. The ends of what went on here
// are told nevertheless.
func TestCopiesHoldNothingUp(t *testing.T) {
	w, n, _, l := moveWorld(t, nil)
	p, q := w.splice(l, SpliceOptions{}), w.splice(l, SpliceOptions{})
	eventually(t, "everything is copied", func() bool {
		f := n.shards.Freeze()
		defer f.Thaw()
		_, fds, _, stay := n.export(t, f)
		if stay == 0 {
			fds = copies(t, fds)
			t.Cleanup(func() { closeFDs(fds) })
		}
		return stay == 0
	})
	must(t, p.client.CloseWrite())
	_, err := io.ReadAll(p.server)
	must(t, err)
	must(t, p.server.CloseWrite())
	_, err = io.ReadAll(p.client)
	must(t, err)
	must(t, <-p.result)
	must(t, q.server.SetLinger(0))
	q.server.Close()
	_, err = q.client.Read(make([]byte, 1))
	wantErr(t, err, unix.ECONNRESET)
	wantErr(t, <-q.result, ErrReset)
}

// A request that waits for its answer is put to the handler of the node that it moves to.
func TestRequestsMove(t *testing.T) {
	onShards(t)
	causes := make(chan error, 1)
	asked := make(chan struct{})
	w := newWorld(t, setup{handler: func(ctx context.Context, r *Request) {
		close(asked)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		if _, err := r.Accept(nil); err == nil {
			t.Error("a request that has moved can be answered")
		}
	}})
	next := w.newNode(setup{handler: func(ctx context.Context, r *Request) {
		if r.Authority != "10.0.0.1:80" || r.Header.Get("x-test") != "yes" || r.PeerID != clientID {
			t.Errorf("the request is %v", r)
		}
		echo(ctx, r)
	}}, w.ca.leaf(t, serverID, time.Now().Add(time.Hour)))
	got := make(chan *Stream, 1)
	go func() {
		s, err := w.pool.Open(context.Background(), w.key, "10.0.0.1:80", Header{{Name: "x-test", Value: "yes"}})
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	<-asked
	f := w.pool.env.shards.Freeze()
	if n := w.server.Staying(f); n != 0 {
		t.Errorf("%d connections stay", n)
	}
	st, fds, _ := w.server.Export(f, nil)
	a, err := next.server.Import(st, copies(t, fds), nil)
	must(t, err)
	f.Drop()
	wantErr(t, <-causes, ErrMoved, ErrReset)
	a.Run()
	s := <-got
	_, err = s.Write([]byte("hello"))
	must(t, err)
	must(t, s.CloseWrite())
	if b, err := io.ReadAll(s); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
	must(t, s.Close())
}

// An Open whose connection moves away before it was answered tries again.
func TestOpensTryAgain(t *testing.T) {
	onShards(t)
	asked, first := make(chan struct{}), make(chan error, 1)
	w := newWorld(t, setup{handler: func(ctx context.Context, r *Request) {
		select {
		case <-asked:
			echo(ctx, r)
		default:
			close(asked)
			<-ctx.Done()
			first <- context.Cause(ctx)
		}
	}})
	next := w.newNode(setup{}, w.ca.leaf(t, serverID, time.Now().Add(time.Hour)))
	got := make(chan *Stream, 1)
	go func() {
		s, err := w.pool.Open(context.Background(), w.key, "10.0.0.1:80", nil)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	<-asked
	f := w.pool.env.shards.Freeze()
	st, fds, stay := w.pool.Export(f, nil)
	a, err := next.pool.Import(st, copies(t, fds), nil)
	must(t, err)
	f.Drop()
	a.Run()
	wantErr(t, <-first, ErrReset)
	if s := <-got; s == nil || stay != 0 {
		t.Errorf("%v, and %d connections stay", s, stay)
	} else {
		must(t, s.Close())
	}
}

// While it is frozen, a pool puts no stream on what it has exported.
func TestNobodyOpensOnWhatIsExported(t *testing.T) {
	w, n, _, l := moveWorld(t, nil)
	w.splice(l, SpliceOptions{})
	f := n.shards.Freeze()
	_, _, moved, _ := n.export(t, f)
	if c, d, err := w.pool.pick(w.key); moved > 0 && (c != nil || err != nil) {
		t.Errorf("pick says %v, %v, %v", c, d, err)
	} else if d != nil {
		defer w.pool.leave(d)
	}
	f.Thaw()
	w.splice(l, SpliceOptions{})
}

// The time for which nothing has moved counts on.
func TestIdleTimeMoves(t *testing.T) {
	clock := newFakeClock()
	w, n, s, l := moveWorld(t, clock)
	p := w.splice(l, SpliceOptions{Idle: 10 * time.Second, Meta: clientMeta})
	clock.advance(6 * time.Second)
	ended := make(chan error, 1)
	w.move(n, s, adoptAll(SpliceOptions{Idle: 10 * time.Second}, ended))
	wantErr(t, <-p.result, ErrMoved)
	clock.advance(3 * time.Second)
	select {
	case err := <-ended:
		t.Fatalf("it has ended too early: %v", err)
	default:
	}
	clock.advance(2 * time.Second)
	wantErr(t, <-ended, ErrIdle)
}
