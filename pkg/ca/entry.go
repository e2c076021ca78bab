package ca

import (
	"context"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/identity"
)

// State of an identity's certificate.
type State string

// States.
const (
	StateInitializing State = "Initializing" // the first attempt has not ended
	StateReady        State = "Ready"        // valid; Error says if renewal fails
	StateUnavailable  State = "Unavailable"  // none, or expired; Error says why
)

// Status describes one identity's certificate, for admin pages.
type Status struct {
	Identity  identity.Identity `json:"identity"`
	State     State             `json:"state"`
	Error     string            `json:"error,omitempty"` // of the last attempt
	Serial    string            `json:"serial,omitempty"`
	NotBefore time.Time         `json:"notBefore,omitzero"`
	NotAfter  time.Time         `json:"notAfter,omitzero"`
	NextTry   time.Time         `json:"nextTry,omitzero"` // renewal or retry
	Roots     []string          `json:"roots,omitempty"`  // subjects
}

// entry keeps one identity's certificate.
type entry struct {
	m       *Manager
	id      identity.Identity
	cancel  context.CancelFunc
	kick    chan struct{}
	holders int // protected by Manager.mu

	mu      sync.Mutex // protects what follows
	cert    *Cert
	err     error // of the last attempt
	tries   int
	next    time.Time
	changed chan struct{} // closed and replaced after every attempt
}

// run fetches and renews until ctx ends.
func (e *entry) run(ctx context.Context) {
	defer e.wake()
	backoff := e.m.o.MinRetry
	for {
		wait, err := e.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			wait = e.retryWait(backoff)
			backoff = min(backoff*2, e.m.o.MaxRetry)
		} else {
			backoff = e.m.o.MinRetry
		}
		e.finish(err, wait)
		if !e.sleep(ctx, wait) {
			return
		}
	}
}

// maxSleep is the longest that a timer is trusted: it stands still while the machine is suspended,
// certificates do not.
const maxSleep = 10 * time.Minute

// sleep waits by the wall clock, or until kicked; false when ctx ended.
func (e *entry) sleep(ctx context.Context, wait time.Duration) bool {
	until := e.m.o.Clock.Now().Round(0).Add(wait)
	for {
		rest := until.Sub(e.m.o.Clock.Now().Round(0))
		if rest <= 0 {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-e.kick:
			return true
		case <-e.m.o.Clock.After(min(rest, maxSleep)):
		}
	}
}

// attempt asks the CA once; on success it returns how long to wait until renewal.
func (e *entry) attempt(ctx context.Context) (time.Duration, error) {
	select {
	case e.m.slots <- struct{}{}:
		defer func() { <-e.m.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, e.m.o.Timeout)
	defer cancel()
	key, csr, err := NewRequest(e.id)
	if err != nil {
		return 0, err
	}
	chain, err := e.m.o.Issuer.Issue(ctx, e.id, csr, e.m.o.TTL)
	if err != nil {
		return 0, err
	}
	now := e.m.o.Clock.Now()
	c, err := newCert(e.id, key, chain, now)
	if err != nil {
		return 0, err
	}
	e.store(c)
	// Half of what is left, give or take a tenth of that, so that a node's certificates spread out.
	half := float64(c.NotAfter().Sub(now)) / 2
	return time.Duration(half * (0.9 + 0.2*e.m.o.Rand())), nil
}

// store publishes a certificate and the roots that came with it.
func (e *entry) store(c *Cert) {
	pool := x509.NewCertPool()
	for _, r := range c.Roots {
		pool.AddCert(r)
	}
	e.m.trust.Store(&trust{roots: c.Roots, pool: pool})
	e.mu.Lock()
	renewed := e.cert != nil
	e.cert = c
	e.mu.Unlock()
	e.m.o.Logger.Info("certificate ready", zap.Stringer("identity", e.id), zap.Time("expires", c.NotAfter()), zap.Bool("renewed", renewed))
	if e.m.o.OnChange != nil {
		e.m.o.OnChange(c)
	}
}

// retryWait is the backoff with jitter; while a certificate is still valid, at most half of its rest,
// so that short-lived ones are not lost to a long wait.
func (e *entry) retryWait(backoff time.Duration) time.Duration {
	wait := time.Duration(float64(backoff) * (0.8 + 0.4*e.m.o.Rand()))
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.cert != nil {
		if rest := e.cert.NotAfter().Sub(e.m.o.Clock.Now()); rest > 0 {
			wait = max(min(wait, rest/2), e.m.o.MinRetry)
		}
	}
	return wait
}

// finish records how an attempt ended and wakes who waits for it.
func (e *entry) finish(err error, wait time.Duration) {
	e.mu.Lock()
	e.err = err
	e.tries++
	e.next = e.m.o.Clock.Now().Add(wait)
	e.mu.Unlock()
	e.wake()
	if err != nil {
		e.m.o.Logger.Warn("certificate not obtained; what was there before stays in use", zap.Stringer("identity", e.id), zap.Duration("retryIn", wait), zap.Error(err))
	}
}

// wake lets everybody who waits for a certificate look again.
func (e *entry) wake() {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.changed)
	e.changed = make(chan struct{})
}

// current returns the certificate if it is valid now, else why not and a channel that closes at the next attempt's end.
func (e *entry) current() (*Cert, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.cert != nil && e.m.o.Clock.Now().Before(e.cert.NotAfter()):
		return e.cert, e.changed, nil
	case e.cert != nil && e.err != nil:
		return nil, e.changed, fmt.Errorf("%w of %s: the last one expired at %s and renewal fails: %w", ErrNoCertificate, e.id, e.cert.NotAfter().Format(time.RFC3339), e.err)
	case e.cert != nil:
		return nil, e.changed, fmt.Errorf("%w of %s: the last one expired at %s", ErrNoCertificate, e.id, e.cert.NotAfter().Format(time.RFC3339))
	case e.err != nil:
		return nil, e.changed, fmt.Errorf("%w of %s after %d attempts: %w", ErrNoCertificate, e.id, e.tries, e.err)
	}
	return nil, e.changed, fmt.Errorf("%w of %s yet: the first request is under way", ErrNoCertificate, e.id)
}

func (e *entry) failing() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err != nil
}

func (e *entry) status() Status {
	_, _, err := e.current()
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{Identity: e.id, State: StateReady, NextTry: e.next}
	if err != nil {
		s.State = StateUnavailable
		if e.cert == nil && e.tries == 0 {
			s.State = StateInitializing
		}
		s.Error = err.Error()
	}
	if e.err != nil {
		s.Error = e.err.Error()
	}
	if e.cert != nil {
		s.Serial = e.cert.Leaf.SerialNumber.Text(16)
		s.NotBefore, s.NotAfter = e.cert.Leaf.NotBefore, e.cert.Leaf.NotAfter
		for _, r := range e.cert.Roots {
			s.Roots = append(s.Roots, r.Subject.String())
		}
	}
	return s
}
