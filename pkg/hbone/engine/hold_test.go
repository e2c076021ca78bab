package engine

import (
	"testing"
	"time"
)

// Held bulk goes on, however late the peer gives credit back, and never has more under way than it must.
func TestHold(t *testing.T) {
	const window = 4 << 20
	for name, grain := range map[string]int{"at once": 16 << 10, "a quarter": window / 4, "half": window / 2} {
		t.Run(name, func(t *testing.T) {
			p := newHeld(t, window)
			most, waits := 0, 0
			for unreturned, sent := 0, 0; sent < 64<<20; {
				n := min(p.c.Sendable(p.s), 16<<10)
				if n == 0 {
					waits++
					heard := false
					for ; unreturned >= grain; unreturned -= grain {
						heard = p.credit(grain) || heard
					}
					if !heard {
						t.Fatalf("stuck after %d bytes with %d under way", sent, unreturned)
					}
					continue
				}
				p.c.PutData(make([]byte, HeaderLen), p.s, n)
				sent += n
				unreturned += n
				if waits > 8 {
					most = max(most, unreturned)
				}
			}
			if limit := max(holdLeast, grain+holdAhead); most > limit {
				t.Errorf("%d bytes are under way, more than %d", most, limit)
			}
			if most == 0 {
				t.Error("it was never held")
			}
			p.c.Hold(false)
			if n := window - p.flight(); p.c.Sendable(p.s) != min(n, p.c.peerFrame) {
				t.Errorf("of a free window of %d bytes %d can be used", n, p.c.Sendable(p.s))
			}
		})
	}
}

// A peer that begins to give back greater pieces stops nobody for ever.
func TestLoosen(t *testing.T) {
	const window = 4 << 20
	p := newHeld(t, window)
	put := func() (sent int) {
		for n := p.c.Sendable(p.s); n > 0; n = p.c.Sendable(p.s) {
			p.c.PutData(make([]byte, HeaderLen), p.s, n)
			sent += n
		}
		return sent
	}
	put()
	for p.flight() > 0 {
		p.credit(16 << 10)
	}
	if n := put(); n != holdLeast {
		t.Fatalf("%d bytes are under way, not %d", n, holdLeast)
	}
	for i := 0; p.flight() < 3<<20; i++ {
		if i == 64 {
			t.Fatalf("only %d bytes are under way", p.flight())
		}
		p.c.Loosen()
		put()
	}
	if !p.credit(3 << 20) {
		t.Error("no Window event")
	}
}

// held is a client whose stream is held.
type held struct {
	t *testing.T
	c *Conn
	s *Stream
}

func newHeld(t *testing.T, window int) *held {
	c := New(Options{Client: true}, time.Unix(1e9, 0))
	p := &held{t, c, nil}
	settings := appendHeader(nil, 6, frameSettings, 0, 0)
	p.receive(append(settings, 0, settingWindow, byte(window>>24), byte(window>>16), byte(window>>8), byte(window)))
	p.receive(appendUint32Frame(nil, frameWindowUpdate, 0, 1<<30))
	s, err := c.Open("10.0.0.1:80", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.s = s
	p.receive(append(appendHeader(nil, 1, frameHeaders, flagEndHeaders, s.ID), 0x88))
	c.Hold(true)
	return p
}

func (p *held) receive(b []byte) []Event {
	p.t.Helper()
	evs, err := p.c.Receive(b, time.Unix(1e9, 0), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.c.Take()
	return evs
}

// credit gives back n bytes and tells whether the stream heard of it.
func (p *held) credit(n int) bool {
	for _, e := range p.receive(appendUint32Frame(nil, frameWindowUpdate, p.s.ID, uint32(n))) {
		if e.Kind == Window && e.Stream == p.s {
			return true
		}
	}
	return false
}

func (p *held) flight() int { return int(p.c.peerWindow - p.s.sendWindow) }
