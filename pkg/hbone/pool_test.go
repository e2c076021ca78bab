package hbone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

func TestStreamsShareConnections(t *testing.T) {
	var dials atomic.Int32
	w := newWorld(t, setup{})
	inner := w.pool.o.Dial
	w.pool.o.Dial = func(ctx context.Context, k Key) (net.Conn, error) {
		dials.Add(1)
		return inner(ctx, k)
	}
	streams := make([]*Stream, 250)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() { streams[i], _ = w.pool.Open(context.Background(), w.key, "a:1", nil) })
	}
	wg.Wait()
	for _, c := range w.pool.Conns() {
		if c.Streams > 100 {
			t.Errorf("%d streams on one connection", c.Streams)
		}
	}
	if n := dials.Load(); n != 3 {
		t.Errorf("%d connections for 250 streams at once", n)
	}
	for _, s := range streams {
		if s == nil {
			t.Fatal("a stream was not opened")
		}
		s.Close()
	}
	other := w.key
	other.SourceIP = netip.MustParseAddr("127.0.0.9")
	s, err := w.pool.Open(context.Background(), other, "a:1", nil)
	must(t, err)
	s.Close()
	if n := dials.Load(); n != 4 {
		t.Errorf("%d connections: another source address must not share", n)
	}
}

func TestErrorsNameTheCause(t *testing.T) {
	mute := func(ctx context.Context, r *Request) { <-ctx.Done() }
	by := func(w *world, k Key) error {
		_, err := w.pool.Open(context.Background(), k, "a:1", nil)
		if err == nil {
			t.Fatal("no error")
		}
		return err
	}
	slow := newWorld(t, setup{handler: mute, client: Limits{Answer: 100 * time.Millisecond}})
	wantErr(t, by(slow, slow.key), ErrTimeout)
	w := newWorld(t, setup{handler: mute})
	open := func(k Key) error { return by(w, k) }
	k := w.key
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := w.pool.Open(ctx, k, "a:1", nil)
	wantErr(t, err, ErrTimeout, context.DeadlineExceeded)
	k.SANs = MakeSANSet("spiffe://cluster.local/ns/shop/sa/payments")
	wantErr(t, open(k), ErrHandshake, ErrPeerIdentity)
	k.SANs = SANSet{}
	wantErr(t, open(k), ErrPeerIdentity)
	k = w.key
	dead := listen(t)
	dead.Close()
	k.Dest = addrPort(dead.Addr())
	wantErr(t, open(k), ErrDial)
	silent := listen(t)
	hasty := newWorld(t, setup{client: Limits{Handshake: 200 * time.Millisecond}})
	k.Dest = addrPort(silent.Addr())
	wantErr(t, by(hasty, k), ErrHandshake, ErrTimeout)
	w.pool.Close()
	wantErr(t, open(w.key), ErrClosed)
}

// A server that refuses our certificate says so only after our handshake.
func TestServerRefusesOurCertificate(t *testing.T) {
	cert := newAuthority(t).leaf(t, clientID, time.Now().Add(time.Hour))
	w := newWorld(t, setup{clientCert: &cert})
	_, err := w.pool.Open(context.Background(), w.key, "a:1", nil)
	wantErr(t, err, ErrHandshake)
	if errors.Is(err, ErrPeerIdentity) {
		t.Errorf("it is not the peer's certificate that was refused: %v", err)
	}
}

// A pooled connection that died unnoticed does not cost the next stream.
func TestDeadConnectionIsReplaced(t *testing.T) {
	for name, end := range map[string]func(w *world){
		"cut":      func(w *world) { w.server.CloseIf(func(ConnInfo) bool { return true }) },
		"draining": func(w *world) { w.server.all()[0].goAway() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, setup{})
			w.open().Close()
			end(w)
			for range 20 {
				s := w.open()
				s.Close()
			}
		})
	}
}

func TestShutdownDrains(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.open()
	done := make(chan error, 1)
	go func() { done <- w.server.Shutdown(context.Background()) }()
	eventually(t, "the client is told", func() bool { return w.pool.Conns()[0].Draining })
	s.Write([]byte("still works"))
	s.CloseWrite()
	if got, err := io.ReadAll(s); string(got) != "still works" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	must(t, <-done)
	eventually(t, "the connection is gone", func() bool { return len(w.pool.Conns()) == 0 })
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	w := newWorld(t, setup{})
	s := w.open()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	wantErr(t, w.server.Shutdown(ctx), context.DeadlineExceeded)
	_, err := s.Read(make([]byte, 1))
	wantErr(t, err, ErrReset)
}

func TestIdleConnectionIsReleased(t *testing.T) {
	clock := newFakeClock()
	w := newWorld(t, setup{clock: clock, client: fastClock, server: fastClock})
	s := w.open()
	clock.advance(400 * time.Second)
	if len(w.pool.Conns()) != 1 {
		t.Fatal("a connection with a stream was released")
	}
	s.Close()
	clock.advance(295 * time.Second)
	if len(w.pool.Conns()) != 1 {
		t.Error("released too early")
	}
	clock.advance(60 * time.Second) // the engine notices within 30 s that it is idle
	eventually(t, "it is released", func() bool { return len(w.pool.Conns()) == 0 && len(w.server.Conns()) == 0 })
}

// fastClock is for a clock that runs faster than any peer can answer or read.
var fastClock = Limits{Engine: engine.Options{PingEvery: -1, PingTimeout: -1}, Write: 1000 * time.Hour}

// A peer that is silent for ever, its kernel alive.
func TestSilentPeerIsGivenUp(t *testing.T) {
	clock := newFakeClock()
	closed := make(chan error, 1)
	w := newWorld(t, setup{clock: clock, clientEvents: &Events{ConnClosed: func(_ ConnInfo, err error) { closed <- err }}})
	l := listen(t)
	go serve(l, func(c net.Conn) {
		tc := tls.Server(c, w.ca.serverTLS(w.ca.leaf(t, serverID, time.Now().Add(time.Hour))))
		io.ReadFull(tc, make([]byte, len(http2.ClientPreface)))
		f := http2.NewFramer(tc, tc)
		f.WriteSettings()
		f.WriteSettingsAck()
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: []byte{0x88}})
		<-closed
	})
	w.key.Dest = addrPort(l.Addr())
	s := w.open()
	clock.advance(31 * time.Second)
	_, err := s.Read(make([]byte, 1))
	wantErr(t, err, ErrReset, ErrConn)
}

// A connection never outlives a certificate, ours or the peer's, and takes no streams shortly before.
func TestCertificateEnds(t *testing.T) {
	for name, ours := range map[string]bool{"client's": true, "server's": false} {
		t.Run(name, func(t *testing.T) {
			clock := newFakeClock()
			ca := newAuthority(t)
			short := ca.leaf(t, map[bool]string{true: clientID, false: serverID}[ours], clock.Now().Add(10*time.Minute))
			long := ca.leaf(t, map[bool]string{true: serverID, false: clientID}[ours], clock.Now().Add(20*time.Hour))
			sc, cc := long, short
			if !ours {
				sc, cc = short, long
			}
			w := newWorld(t, setup{ca: ca, clock: clock, clientEvents: &Events{ConnClosed: func(_ ConnInfo, err error) { t.Log(err) }}, client: fastClock, server: fastClock, serverCert: &sc, clientCert: &cc})
			old := w.open()
			clock.advance(8 * time.Minute)
			same := w.open()
			if len(w.pool.Conns()) != 1 {
				t.Error("a second connection before it is time")
			}
			same.Close()
			clock.advance(70 * time.Second)
			if c := w.pool.Conns(); !c[0].Draining {
				t.Error("takes streams shortly before its certificate ends")
			}
			clock.advance(50 * time.Second)
			_, err := old.Read(make([]byte, 1))
			wantErr(t, err, ErrReset) // whichever side was first
			eventually(t, "both ends are closed", func() bool { return len(w.pool.Conns()) == 0 && len(w.server.Conns()) == 0 })
		})
	}
}

// Rotation: streams go on, new ones get a connection with the certificate of the day.
func TestRetire(t *testing.T) {
	w := newWorld(t, setup{})
	old := w.open()
	if n := w.pool.Retire(func(k Key) bool { return k.Source == clientID }); n != 1 {
		t.Errorf("%d retired", n)
	}
	fresh := w.open()
	if len(w.pool.Conns()) != 2 {
		t.Errorf("connections: %+v", w.pool.Conns())
	}
	for _, s := range []*Stream{old, fresh} {
		s.Write([]byte("x"))
		s.CloseWrite()
		if got, err := io.ReadAll(s); string(got) != "x" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		s.Close()
	}
	eventually(t, "the old connection is gone", func() bool { return len(w.pool.Conns()) == 1 })
	if n := w.pool.CloseIdentity(clientID); n != 1 {
		t.Errorf("%d closed", n)
	}
	eventually(t, "nothing is left", func() bool { return len(w.pool.Conns()) == 0 && len(w.server.Conns()) == 0 })
}

// Streams that end by a reset, far more than a server takes on one connection, cost no other stream.
func TestResetsWearNothingOut(t *testing.T) {
	w := newWorld(t, setup{})
	living := w.open()
	for range 2000 {
		w.open().Reset()
	}
	if n := w.pool.Stats().Conns; n < 4 {
		t.Errorf("2000 resets went over %d connections", n)
	}
	living.Write([]byte("x"))
	living.CloseWrite()
	if got, err := io.ReadAll(living); string(got) != "x" || err != nil {
		t.Errorf("the stream that lived through it: %q, %v", got, err)
	}
	living.Close()
	eventually(t, "connections that had enough are gone", func() bool { return len(w.pool.Conns()) == 1 })
}

// Used-up descriptors: refused while they last, and recovered after.
func TestAcceptRecovers(t *testing.T) {
	l := &flaky{Listener: listen(t), fail: 3}
	w := newWorld(t, setup{})
	go w.server.Serve(l)
	w.key.Dest = addrPort(l.Addr())
	w.open().Close()
}

type flaky struct {
	net.Listener
	fail int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.fail--; f.fail >= 0 {
		return nil, fmt.Errorf("accept: %w", errors.New("too many open files"))
	}
	return f.Listener.Accept()
}

func TestSANSet(t *testing.T) {
	a, b := MakeSANSet("x", "y", "x"), MakeSANSet("y", "x")
	if a != b || !a.Has("x") || !a.Has("y") || a.Has("z") || a.Has("") || (SANSet{}).Has("") || len(a.List()) != 2 {
		t.Errorf("%v %v", a, b)
	}
}

// A new stream joins the fullest connection that carries no bulk, so that the others empty and end.
func TestNewStreamsJoinTheFullestConnection(t *testing.T) {
	w := newWorld(t, setup{})
	var streams []*Stream
	for range 250 {
		streams = append(streams, w.open())
	}
	conns := []*conn{streams[0].c, streams[100].c, streams[200].c}
	for _, s := range streams[2:100] {
		s.Close()
	}
	for _, s := range streams[210:] {
		s.Close()
	}
	for _, s := range streams[110:120] {
		s.Close()
	}
	eventually(t, "the streams have ended", func() bool {
		_, a := conns[0].load()
		_, b := conns[1].load()
		_, c := conns[2].load()
		return a == 2 && b == 90 && c == 10
	})
	var fresh []*Stream
	for range 12 {
		fresh = append(fresh, w.open())
	}
	for i, s := range fresh {
		if want := conns[1+i/10]; s.c != want {
			t.Errorf("new stream %d did not join the fullest connection", i)
		}
	}
	for _, s := range fresh {
		s.Close()
	}
	eventually(t, "they have ended", func() bool {
		_, b := conns[1].load()
		_, c := conns[2].load()
		return b == 90 && c == 10
	})
	for i := 0; i < 1000 && conns[1].bulky.Load() <= calmBytes; i++ { // what is echoed counts, too
		_, err := streams[100].Write(make([]byte, 64<<10))
		must(t, err)
		_, err = io.ReadFull(streams[100], make([]byte, 64<<10))
		must(t, err)
	}
	if s := w.open(); s.c != conns[2] {
		t.Error("a new stream joined a connection with bulk")
	}
	for _, c := range conns {
		c.bulky.Store(2 * calmBytes)
	}
	conns[0].bulky.Store(calmBytes)
	if s := w.open(); s.c != conns[0] {
		t.Error("all carry bulk, and a new stream did not join the one with the least")
	}
}
