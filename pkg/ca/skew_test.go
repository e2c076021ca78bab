package ca

import (
	"errors"
	"testing"
	"time"
)

// off is a clock that goes right and stands wrong.
type off struct {
	*fakeClock
	by time.Duration
}

func (c off) Now() time.Time { return c.fakeClock.Now().Add(c.by) }

// Programs whose clocks are behind or ahead of the authority's, and of each other's by twice as much as that, take new
// certificates and each other's, throughout several lifetimes.
func TestClocksThatDiffer(t *testing.T) {
	const ttl = 10 * time.Minute
	clock := newFakeClock()
	a := openAuthority(t, AuthorityOptions{TTL: ttl, Clock: clock})
	node := func(by time.Duration) *Manager {
		return newManager(t, ManagerOptions{Issuer: direct{a}, TrustDomain: a.TrustDomain(), TTL: ttl, Clock: off{clock, by}, Rand: func() float64 { return 1 }})
	}
	behind, right, ahead := node(time.Second-ClockSkew), node(0), node(ClockSkew)
	nodes := map[string]*Manager{"behind": behind, "right": right, "ahead": ahead}
	meet := func() {
		t.Helper()
		for from, client := range nodes {
			for to, server := range nodes {
				if s, c := handshake(t, server.ServerTLS(cart), client.ClientTLS(catalog, only(cart))); s != nil || c != nil {
					t.Fatalf("%s calls %s: server %v, client %v", from, to, s, c)
				}
			}
		}
	}
	for _, m := range nodes {
		mustCert(t, m, cart)
		mustCert(t, m, catalog)
	}
	meet() // with certificates of this very moment
	for range 30 {
		clock.Advance(time.Minute)
		for name, m := range nodes {
			eventually(t, "a certificate of "+name+" that is valid for all", func() bool {
				one, err1 := m.Current(cart)
				two, err2 := m.Current(catalog)
				latest := clock.Now().Add(ClockSkew)
				return err1 == nil && err2 == nil && one.NotAfter().After(latest) && two.NotAfter().After(latest)
			})
		}
		meet()
	}
}

// Beyond the bound it is said what is wrong, and nothing is taken.
func TestClocksThatDifferTooMuch(t *testing.T) {
	clock := newFakeClock()
	a := openAuthority(t, AuthorityOptions{Clock: clock})
	m := newManager(t, ManagerOptions{Issuer: direct{a}, TrustDomain: a.TrustDomain(), Clock: off{clock, -ClockSkew - 2*time.Second}})
	m.Acquire(cart)
	defer m.Release(cart)
	var err error
	eventually(t, "the first answer", func() bool { _, err = m.Current(cart); return errors.Is(err, ErrPeerExpired) })
	if _, err := m.Current(cart); err == nil {
		t.Error("a certificate of the future is in use")
	}
}

// A controller whose clock is behind the API server's takes a token that was made now; one that is ahead, one that ran
// out lately by its clock.
func TestTokensOfOtherClocks(t *testing.T) {
	r := startCA(t, AuthorityOptions{})
	for name, by := range map[string]time.Duration{"just made": ClockSkew - 10*time.Second, "just run out": -time.Hour - ClockSkew + 10*time.Second} {
		clock := newFakeClock()
		clock.Advance(by)
		if _, err := createCert(t, r, r.token(t, MintOptions{Node: "n1", TTL: time.Hour, Clock: clock}), request(t, cart, cart.String())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
