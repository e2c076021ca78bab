package ca

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/identity"
)

// ErrNoCertificate is wrapped when there is no valid certificate for an identity.
var ErrNoCertificate = errors.New("no certificate")

// ManagerOptions configure NewManager.
type ManagerOptions struct {
	// Issuer answers CSRs. Required.
	Issuer Issuer
	// TrustDomain that peers must be of. Default identity.DefaultTrustDomain.
	TrustDomain string
	// TTL that is asked for. Default 24 h, at least 30 s; the CA may give less.
	TTL time.Duration
	// MinRetry and MaxRetry bound the wait between attempts, which doubles. Defaults 0.5 s and 150 s.
	// MaxRetry is cut to half the TTL.
	MinRetry, MaxRetry time.Duration
	// Timeout of one attempt. Default 10 s.
	Timeout time.Duration
	// Concurrency bounds the attempts under way. Default 16.
	Concurrency int
	// OnChange, if set, is told of every new certificate, from the goroutine that fetched it.
	OnChange func(*Cert)
	// Clock, default the machine's.
	Clock Clock
	// Rand returns jitter in [0,1). Default math/rand.
	Rand func() float64
	// Logger, default none.
	Logger *zap.Logger
}

func (o *ManagerOptions) setDefaults() {
	o.TrustDomain = cmp.Or(o.TrustDomain, identity.DefaultTrustDomain)
	o.TTL = max(cmp.Or(o.TTL, DefaultTTL), MinTTL)
	o.MinRetry = cmp.Or(o.MinRetry, 500*time.Millisecond)
	o.MaxRetry = max(o.MinRetry, min(cmp.Or(o.MaxRetry, 150*time.Second), o.TTL/2))
	o.Timeout = cmp.Or(o.Timeout, 10*time.Second)
	o.Concurrency = cmp.Or(o.Concurrency, 16)
	o.Clock = clockOr(o.Clock)
	if o.Rand == nil {
		o.Rand = rand.Float64
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
}

// Manager keeps one valid certificate per identity: fetched when first asked for, renewed at half of
// its life, kept while renewal fails. Safe for concurrent use.
type Manager struct {
	o      ManagerOptions
	ctx    context.Context
	cancel context.CancelFunc
	slots  chan struct{} // one per attempt under way
	wg     sync.WaitGroup
	trust  atomic.Pointer[trust]

	mu      sync.RWMutex // protects entries
	entries map[identity.Identity]*entry
}

// trust is the roots that the CA named last.
type trust struct {
	roots []*x509.Certificate
	pool  *x509.CertPool
}

// NewManager makes a manager; Close ends it.
func NewManager(o ManagerOptions) *Manager {
	o.setDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	return &Manager{o: o, ctx: ctx, cancel: cancel, slots: make(chan struct{}, o.Concurrency), entries: map[identity.Identity]*entry{}}
}

// Close stops renewing and waits until nothing runs any more.
func (m *Manager) Close() {
	m.mu.Lock()
	m.cancel()
	m.mu.Unlock() // from here on track starts nothing
	m.wg.Wait()
}

// Acquire is for callers that count their users: each Acquire keeps the identity until a Release.
func (m *Manager) Acquire(id identity.Identity) { m.track(id, 1) }

// Release forgets an identity, unless other Acquires still hold it.
func (m *Manager) Release(id identity.Identity) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	if e == nil {
		return
	}
	if e.holders--; e.holders <= 0 {
		e.cancel()
		delete(m.entries, id)
	}
}

// track starts keeping a certificate for id, if that is not done yet.
func (m *Manager) track(id identity.Identity, holders int) *entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[id]
	if e == nil {
		ctx, cancel := context.WithCancel(m.ctx)
		e = &entry{m: m, id: id, cancel: cancel, kick: make(chan struct{}, 1), changed: make(chan struct{})}
		m.entries[id] = e
		if m.ctx.Err() == nil {
			m.wg.Go(func() { e.run(ctx) })
		}
	}
	e.holders += holders
	return e
}

// Certificate returns a valid certificate of id, waiting for the first until ctx ends. It keeps the
// identity until Release. Errors wrap ErrNoCertificate and say why the last attempt failed.
func (m *Manager) Certificate(ctx context.Context, id identity.Identity) (*Cert, error) {
	for {
		e := m.lookup(id)
		if e == nil { // never asked for, or released meanwhile by somebody else
			e = m.track(id, 0)
		}
		c, changed, err := e.current()
		if err == nil {
			return c, nil
		}
		if m.ctx.Err() != nil {
			return nil, fmt.Errorf("%w of %s: the certificate manager was closed", ErrNoCertificate, id)
		}
		select {
		case <-changed:
		case <-m.ctx.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
	}
}

// Current returns the certificate of id without waiting and without starting to keep one.
// Errors wrap ErrNoCertificate.
func (m *Manager) Current(id identity.Identity) (*Cert, error) {
	e := m.lookup(id)
	if e == nil {
		return nil, fmt.Errorf("%w of %s: it was never asked for", ErrNoCertificate, id)
	}
	c, _, err := e.current()
	return c, err
}

func (m *Manager) lookup(id identity.Identity) *entry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.entries[id]
}

// Kick retries at once whatever waits after a failure, e.g. when the controller is back.
func (m *Manager) Kick() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, e := range m.entries {
		if e.failing() {
			select {
			case e.kick <- struct{}{}:
			default:
			}
		}
	}
}

// Roots are the trusted roots that the CA named last; nil before the first certificate.
func (m *Manager) Roots() (*x509.CertPool, []*x509.Certificate) {
	if t := m.trust.Load(); t != nil {
		return t.pool, t.roots
	}
	return nil, nil
}

// TrustDomain that peers must be of.
func (m *Manager) TrustDomain() string { return m.o.TrustDomain }

// List describes every identity that is kept, sorted.
func (m *Manager) List() []Status {
	m.mu.RLock()
	out := make([]Status, 0, len(m.entries))
	for _, e := range m.entries {
		out = append(out, e.status())
	}
	m.mu.RUnlock()
	slices.SortFunc(out, func(a, b Status) int { return cmp.Compare(a.Identity.String(), b.Identity.String()) })
	return out
}
