package ca

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/identity"
)

// flaky fails while told to, and counts.
type flaky struct {
	Issuer
	mu    sync.Mutex
	err   error
	calls atomic.Int64
}

func (f *flaky) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *flaky) Issue(ctx context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	defer f.calls.Add(1)
	if err != nil {
		return nil, err
	}
	return f.Issuer.Issue(ctx, id, csr, ttl)
}

func TestRenewsAtHalfLife(t *testing.T) {
	clock := newFakeClock()
	issuer := &flaky{Issuer: direct{openAuthority(t, AuthorityOptions{TTL: 30 * time.Second, Clock: clock})}}
	var seen atomic.Int64
	m := newManager(t, ManagerOptions{Issuer: issuer, TTL: 30 * time.Second, Clock: clock, Rand: func() float64 { return 0.5 }, OnChange: func(*Cert) { seen.Add(1) }})
	first := mustCert(t, m, cart)
	if life := first.NotAfter().Sub(clock.Now()); life != 30*time.Second {
		t.Fatalf("certificate lives %v, want 30s", life)
	}
	for i := range 5 {
		eventually(t, "the manager waits", func() bool { return clock.next() > 0 })
		if d := clock.next(); d != 15*time.Second {
			t.Fatalf("renewal %d in %v, want half of 30s", i, d)
		}
		clock.Advance(14 * time.Second)
		if c, err := m.Current(cart); err != nil || c != first {
			t.Fatalf("renewed before half its life: %v", err)
		}
		clock.Advance(time.Second)
		eventually(t, "renewal", func() bool { c, err := m.Current(cart); return err == nil && c != first })
		next := mustCert(t, m, cart)
		if samePublicKey(next.Leaf.PublicKey, first.Leaf.PublicKey) {
			t.Error("renewal kept the key")
		}
		first = next
	}
	if seen.Load() != 6 {
		t.Errorf("OnChange was called %d times, want 6", seen.Load())
	}
}

func TestRetryKeepsTheOldOne(t *testing.T) {
	clock := newFakeClock()
	issuer := &flaky{Issuer: direct{openAuthority(t, AuthorityOptions{Clock: clock})}}
	m := newManager(t, ManagerOptions{Issuer: issuer, Clock: clock, Rand: func() float64 { return 0.5 }})
	first := mustCert(t, m, cart)
	issuer.fail(errors.New("connection refused"))
	eventually(t, "the manager waits", func() bool { return clock.next() > 0 })
	clock.Advance(12 * time.Hour)

	want := 500 * time.Millisecond
	for range 11 {
		eventually(t, "a retry is planned", func() bool { return clock.next() > 0 })
		if got := clock.next(); got != want {
			t.Fatalf("next retry in %v, want %v", got, want)
		}
		if c, err := m.Current(cart); err != nil || c != first {
			t.Fatalf("the old certificate is not kept: %v", err)
		}
		clock.Advance(want)
		want = min(want*2, 150*time.Second)
	}
	s := m.List()[0]
	if s.State != StateReady || !strings.Contains(s.Error, "connection refused") {
		t.Errorf("while renewal fails: %+v, want Ready with the cause", s)
	}

	clock.Advance(13 * time.Hour)
	if _, err := m.Current(cart); !errors.Is(err, ErrNoCertificate) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("after expiry: %v, want ErrNoCertificate with the cause", err)
	}
	eventually(t, "state is Unavailable", func() bool { return m.List()[0].State == StateUnavailable })

	issuer.fail(nil)
	m.Kick()
	eventually(t, "a new one after the CA is back", func() bool { c, err := m.Current(cart); return err == nil && c != first })
}

func TestShortLivedRetriesInTime(t *testing.T) {
	clock := newFakeClock()
	issuer := &flaky{Issuer: direct{openAuthority(t, AuthorityOptions{TTL: 30 * time.Second, Clock: clock})}}
	m := newManager(t, ManagerOptions{Issuer: issuer, TTL: 30 * time.Second, Clock: clock})
	c := mustCert(t, m, cart)
	issuer.fail(errors.New("down"))
	before := issuer.calls.Load()
	for clock.Now().Before(c.NotAfter()) {
		eventually(t, "the manager waits", func() bool { return clock.next() > 0 })
		clock.Advance(clock.next())
	}
	if n := issuer.calls.Load() - before; n < 5 {
		t.Errorf("%d attempts in the second half of 30s, want at least 5", n)
	}
}

func TestFirstCertificateWaitsAndSaysWhy(t *testing.T) {
	clock := newFakeClock()
	issuer := &flaky{Issuer: direct{openAuthority(t, AuthorityOptions{Clock: clock})}}
	issuer.fail(errors.New("no pod of service account shop/cart runs on node n1"))
	m := newManager(t, ManagerOptions{Issuer: issuer, Clock: clock})
	if _, err := m.Current(cart); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("never asked for: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { _, err := m.Certificate(ctx, cart); got <- err }()
	eventually(t, "an attempt failed", func() bool { return issuer.calls.Load() > 0 && clock.next() > 0 })
	cancel()
	if err := <-got; !errors.Is(err, ErrNoCertificate) || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "no pod of") {
		t.Errorf("got %v, want ErrNoCertificate that says why", err)
	}
	issuer.fail(nil)
	m.Kick()
	mustCert(t, m, cart)
}

func TestReleaseCountsHolders(t *testing.T) {
	clock := newFakeClock()
	m := newManager(t, ManagerOptions{Issuer: direct{openAuthority(t, AuthorityOptions{Clock: clock})}, Clock: clock})
	m.Acquire(cart)
	m.Acquire(cart)
	mustCert(t, m, cart)
	m.Release(cart)
	if _, err := m.Current(cart); err != nil {
		t.Fatalf("released by one of two: %v", err)
	}
	m.Release(cart)
	m.Release(cart)
	if _, err := m.Current(cart); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("released by both: %v", err)
	}
	mustCert(t, m, cart) // asked for again
}

func TestUnusableAnswers(t *testing.T) {
	a := openAuthority(t, AuthorityOptions{})
	other := openAuthority(t, AuthorityOptions{})
	_, foreignCSR, err := NewRequest(cart)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		answer func(csr []byte) ([]string, error)
		says   string
	}{
		"nothing":          {func([]byte) ([]string, error) { return nil, nil }, "want at least leaf and root"},
		"garbage":          {func([]byte) ([]string, error) { return []string{"a", "b"}, nil }, "no PEM certificate"},
		"another key":      {func([]byte) ([]string, error) { return a.Sign(foreignCSR, cart, 0) }, "another key"},
		"another identity": {func(csr []byte) ([]string, error) { return signAnyName(t, a, csr) }, "not the expected identity"},
		"another root": {func(csr []byte) ([]string, error) {
			chain, err := a.Sign(csr, cart, 0)
			return []string{chain[0], string(other.RootPEM())}, err
		}, "not signed by a root"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t, ManagerOptions{Issuer: issuerFunc(tc.answer)})
			m.Acquire(cart)
			eventually(t, tc.says, func() bool { return strings.Contains(m.List()[0].Error, tc.says) })
			if pool, _ := m.Roots(); pool != nil {
				t.Error("roots of an unusable answer were published")
			}
		})
	}
}

type issuerFunc func(csr []byte) ([]string, error)

func (f issuerFunc) Issue(_ context.Context, _ identity.Identity, csr []byte, _ time.Duration) ([]string, error) {
	return f(csr)
}

// signAnyName signs the key of a CSR for catalog, whatever the CSR says.
func signAnyName(t *testing.T, a *Authority, csrPEM []byte) ([]string, error) {
	t.Helper()
	csr, err := checkRequest(csrPEM, cart)
	if err != nil {
		return nil, err
	}
	cert, m, err := a.sign(csr.PublicKey, leaf{id: catalog})
	if err != nil {
		return nil, err
	}
	return []string{string(EncodeCertificates(cert)), string(m.rootPEM)}, nil
}

func TestManyIdentitiesAtOnce(t *testing.T) {
	a := openAuthority(t, AuthorityOptions{})
	var now, most atomic.Int64
	m := newManager(t, ManagerOptions{Concurrency: 4, Issuer: slow{direct{a}, &now, &most}})
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			id := cart
			id.ServiceAccount = "sa-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
			if _, err := m.Certificate(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > 4 {
		t.Errorf("%d requests at once, want at most 4", most.Load())
	}
	if n := len(m.List()); n != 100 {
		t.Errorf("%d identities, want 100", n)
	}
}

type slow struct {
	Issuer
	now, most *atomic.Int64
}

func (s slow) Issue(ctx context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for old := s.most.Load(); n > old && !s.most.CompareAndSwap(old, n); old = s.most.Load() {
	}
	return s.Issuer.Issue(ctx, id, csr, ttl)
}

func TestClosedManager(t *testing.T) {
	m := NewManager(ManagerOptions{Issuer: direct{openAuthority(t, AuthorityOptions{})}})
	m.Close()
	if _, err := m.Certificate(t.Context(), cart); !errors.Is(err, ErrNoCertificate) {
		t.Errorf("got %v", err)
	}
}

// The whole way once in real time: gRPC over TLS, 30 s certificates, renewal after 15 s.
func TestRealRotation(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 15 s")
	}
	t.Parallel()
	r := startCA(t, AuthorityOptions{TTL: 30 * time.Second})
	m := newManager(t, ManagerOptions{Issuer: NewClient(r.dial(t, r.token(t, MintOptions{Node: "n1"})), identity.Identity{}), TTL: 30 * time.Second})
	first := mustCert(t, m, cart)
	server := m.ServerTLS(cart)
	next := first
	eventually(t, "renewal in half of 30 s", func() bool {
		c, err := m.Current(cart)
		if err != nil {
			t.Fatalf("without a certificate: %v", err)
		}
		next = c
		return c != first
	})
	if apart := next.Leaf.NotBefore.Sub(first.Leaf.NotBefore); apart < 13*time.Second { // by the CA's clock; certificates count in seconds
		t.Errorf("renewed after %v, want 15 s give or take 1.5", apart)
	}
	if s, c := handshake(t, server, m.ClientTLS(cart, []identity.Identity{cart})); s != nil || c != nil {
		t.Errorf("handshake after renewal: server %v, client %v", s, c)
	}
}

// A laptop that slept wakes with timers that stood still: the wall clock decides.
func TestRenewalAfterSuspend(t *testing.T) {
	clock := newFakeClock()
	m := newManager(t, ManagerOptions{Issuer: direct{openAuthority(t, AuthorityOptions{Clock: clock})}, Clock: clock})
	first := mustCert(t, m, cart)
	eventually(t, "the manager waits", func() bool { return clock.next() > 0 })
	if d := clock.next(); d > maxSleep {
		t.Errorf("one timer of %v", d)
	}
	clock.mu.Lock()
	clock.now = clock.now.Add(20 * time.Hour) // no timer fires
	clock.mu.Unlock()
	clock.Advance(time.Second) // the timer that was set before is due by the wall clock
	eventually(t, "renewal", func() bool { c, err := m.Current(cart); return err == nil && c != first })
}
