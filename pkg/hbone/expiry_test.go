package hbone

import (
	"crypto/tls"
	"io"
	"sync/atomic"
	"testing"
	"time"
)

func (s *Stream) ping(t *testing.T) {
	t.Helper()
	if _, err := s.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
}

// Streams outlive certificates as long as both sides vouch for them, and no longer.
func TestVouchedStreamsGoOn(t *testing.T) {
	clock := newFakeClock()
	ca := newAuthority(t)
	short := ca.leaf(t, clientID, clock.Now().Add(10*time.Minute))
	var gone atomic.Bool
	var asked atomic.Int32
	w := newWorld(t, setup{ca: ca, clock: clock, client: fastClock, server: fastClock, clientCert: &short, vouch: func(i ConnInfo) time.Time {
		asked.Add(1)
		if i.PeerID != clientID && i.PeerID != serverID || i.Streams != 1 {
			t.Errorf("asked about %+v", i)
		}
		if gone.Load() {
			return time.Time{}
		}
		return clock.Now().Add(time.Minute)
	}})
	s := w.open()
	clock.advance(9*time.Minute + 58*time.Second)
	s.ping(t)
	if asked.Load() != 0 {
		t.Error("asked before it was time")
	}
	if c := w.pool.Conns(); !c[0].Draining {
		t.Error("takes streams shortly before its certificate ends")
	}
	clock.advance(10 * time.Minute)
	s.ping(t)
	if n := asked.Load(); n < 20 {
		t.Errorf("asked %d times in 10 minutes for a minute each, by two sides", n)
	}
	gone.Store(true)
	clock.advance(time.Minute + time.Second)
	_, err := s.Read(make([]byte, 1))
	wantErr(t, err, ErrReset) // whichever side was first
	eventually(t, "both ends are closed", func() bool { return len(w.pool.Conns()) == 0 && len(w.server.Conns()) == 0 })
}

// A connection made with a certificate that is about to end is good until then: there is no better one.
func TestLastMinuteOfACertificate(t *testing.T) {
	clock := newFakeClock()
	ca := newAuthority(t)
	short := ca.leaf(t, clientID, clock.Now().Add(30*time.Second))
	w := newWorld(t, setup{ca: ca, clock: clock, client: fastClock, server: fastClock, clientCert: &short})
	s := w.open()
	clock.advance(20 * time.Second)
	w.open().ping(t)
	clock.advance(11 * time.Second)
	_, err := s.Read(make([]byte, 1))
	wantErr(t, err, ErrReset) // whichever side was first
}

// Rotation in real time: a stream lives through it, new ones come by a connection with the new certificates,
// and the old connection goes with its last stream.
func TestRotationUnderALiveStream(t *testing.T) {
	ca := newAuthority(t)
	end := time.Now().Truncate(time.Second).Add(6 * time.Second)
	cert := func(id string) *atomic.Pointer[tls.Certificate] {
		p := new(atomic.Pointer[tls.Certificate])
		c := ca.issue(t, id, end.Add(-7*time.Second), end)
		p.Store(&c)
		return p
	}
	ours, theirs := cert(clientID), cert(serverID)
	w := newWorld(t, setup{ca: ca, vouch: func(ConnInfo) time.Time { return time.Now().Add(time.Second) },
		serverTLS: func() *tls.Config { return ca.serverTLS(*theirs.Load()) }})
	w.pool.o.TLS = func(Key) (*tls.Config, error) { return ca.clientTLS(*ours.Load()), nil }
	s := w.open()
	for p, id := range map[*atomic.Pointer[tls.Certificate]]string{ours: clientID, theirs: serverID} {
		c := ca.leaf(t, id, end.Add(time.Hour))
		p.Store(&c)
	}
	eventually(t, "the certificates have ended", func() bool {
		s.ping(t)
		return time.Now().After(end.Add(500 * time.Millisecond))
	})
	fresh := w.open()
	fresh.ping(t)
	s.ping(t)
	if n := len(w.pool.Conns()); n != 2 || s.c == fresh.c {
		t.Errorf("%d connections; the new stream is on the old one: %v", n, s.c == fresh.c)
	}
	s.CloseWrite()
	if _, err := s.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the old stream ended by %v", err)
	}
	s.Close()
	eventually(t, "the old connection is gone", func() bool { return len(w.pool.Conns()) == 1 && len(w.server.Conns()) == 1 })
	fresh.ping(t)
	fresh.Close()
}
