package ca

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// lastMinute refuses to renew until a certificate has almost run out: the latest that a node learns of roots.
type lastMinute struct {
	direct
	clock *fakeClock
	mine  func() *Manager
}

func (l lastMinute) Issue(ctx context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	if c, err := l.mine().Current(id); err == nil && c.NotAfter().Sub(l.clock.Now()) > 3*time.Second {
		return nil, errors.New("busy")
	}
	return l.direct.Issue(ctx, id, csr, ttl)
}

// A root is replaced under two nodes whose certificates live 30 s, each step as soon as it is allowed,
// noticed by the controller and by the nodes as late as may be: at no second does a handshake fail in either
// direction.
func TestRotationBreaksNothing(t *testing.T) {
	clock := newFakeClock()
	const ttl = 30 * time.Second
	a := openAuthority(t, AuthorityOptions{TTL: ttl, Clock: clock})
	old := a.RootPEM()
	node := func() (m *Manager) {
		m = newManager(t, ManagerOptions{Issuer: lastMinute{direct{a}, clock, func() *Manager { return m }}, TTL: ttl, Clock: clock})
		return m
	}
	m1, m2 := node(), node()
	settled := func(n int) {
		t.Helper()
		eventually(t, "every manager waits", func() bool {
			clock.mu.Lock()
			defer clock.mu.Unlock()
			return len(clock.waiters) == n
		})
	}
	mustCert(t, m1, cart)
	settled(1)
	clock.Advance(7 * time.Second) // they renew at different times
	mustCert(t, m2, catalog)
	settled(2)
	talk := func(at int) {
		t.Helper()
		for _, way := range []struct {
			client, server *Manager
			from, to       identity.Identity
		}{{m1, m2, cart, catalog}, {m2, m1, catalog, cart}} {
			if s, c := handshake(t, way.server.ServerTLS(way.to), way.client.ClientTLS(way.from, only(way.to))); s != nil || c != nil {
				t.Fatalf("second %d, %s to %s: server %v, client %v", at, way.from, way.to, s, c)
			}
		}
	}
	second := 0
	tick := func() {
		t.Helper()
		if second++; second%int(defaultReload/time.Second) == 0 {
			if err := a.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		clock.Advance(time.Second)
		settled(2)
		talk(second)
	}
	for _, want := range []Phase{PhaseIntroduced, PhasePromoted, PhaseNone} {
		for {
			s, err := Rotate(RotateOptions{Dir: a.o.Dir, LeafTTL: ttl, Clock: clock})
			if err == nil && s.Phase == want {
				break
			}
			if !errors.Is(err, ErrTooEarly) || second > 1000 {
				t.Fatalf("second %d: %v, %v; want %s", second, s.Phase, err, want)
			}
			tick()
		}
	}
	for range 2 * ttl / time.Second { // and afterwards, when the old root is forgotten
		tick()
	}
	if bytes.Contains(a.RootPEM(), old) {
		t.Error("the old root is still trusted")
	}
	for _, m := range []*Manager{m1, m2} {
		if _, roots := m.Roots(); len(roots) != 1 || !roots[0].Equal(a.Signing()) {
			t.Errorf("a node trusts %d roots, want the new one alone", len(roots))
		}
	}
}
