package hbone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// PoolOptions of a Pool.
type PoolOptions struct {
	// Dial connects to k.Dest. Required.
	Dial func(ctx context.Context, k Key) (net.Conn, error)
	// TLS gives the configuration for a connection. Required. It must verify the server; that the peer is
	// one of k.SANs, TLS 1.3, ALPN h2 and AES-GCM are seen to here besides.
	TLS func(k Key) (*tls.Config, error)
	// Vouch is asked when a certificate of a connection that still carries streams has ended: until when may
	// they go on? It should say so only while our own certificate has been renewed and the peer is known to
	// live on under its name. nil, or a time that is past: the streams are reset. It may not block.
	Vouch func(ConnInfo) time.Time
	// Shards drive the connections. nil: crypto/tls and goroutines do.
	Shards *Shards
	// Limits, Clock (nil: the real one), Log (nil: none), Events (nil: none).
	Limits Limits
	Clock  Clock
	Log    *zap.Logger
	Events *Events
}

// Pool opens streams over shared connections.
type Pool struct {
	o    PoolOptions
	env  *env
	ctx  context.Context
	stop context.CancelFunc

	mu      sync.Mutex // protects what follows; taken before a conn's mu
	entries map[Key]*entry
	closed  bool
	running sync.WaitGroup // dials and connections
}

// entry is what the pool has for a key.
type entry struct {
	conns []*conn
	dials []*dial
}

// dial is a connection in the making, for which streams wait.
type dial struct {
	waiting int
	cancel  context.CancelCauseFunc
	done    chan struct{}
	err     error // once done
}

// NewPool makes a pool.
func NewPool(o PoolOptions) *Pool {
	p := &Pool{o: o, env: newEnv(o.Limits, o.Clock, o.Log, o.Events), entries: map[Key]*entry{}}
	p.env.vouch, p.env.shards = o.Vouch, o.Shards
	p.ctx, p.stop = context.WithCancel(context.Background())
	return p
}

// attempts bounds how often Open tries again after a pooled connection turned out to be dead.
const attempts = 4

// Open asks the far end of k for authority and returns when it has agreed. A stream that a dying pooled
// connection did not carry to an answer is tried again on another one. Errors wrap ErrDial, ErrHandshake
// (perhaps with ErrPeerIdentity), ErrRefused (a *RefusedError), ErrTimeout, ErrReset, ErrClosed or ctx's.
func (p *Pool) Open(ctx context.Context, k Key, authority string, h Header) (*Stream, error) {
	for try := 1; ; try++ {
		s, fresh, err := p.place(ctx, k, authority, h)
		if err != nil {
			return nil, err
		}
		if err = p.await(ctx, s); err == nil {
			return s, nil
		}
		if fresh && !errors.Is(err, ErrMoved) || try == attempts || !notTaken(err) {
			if errors.Is(err, ErrRefused) {
				p.env.count.refused.Add(1)
			}
			return nil, fmt.Errorf("tunnel to %s for %s: %w", k, authority, err)
		}
	}
}

// notTaken reports that the far end has not taken the stream up, so that another connection may carry it.
func notTaken(err error) bool {
	var r *ResetError
	return errors.As(err, &r) && (r.Err != nil || r.Code == engine.RefusedStream) && !errors.Is(err, ErrHandshake)
}

// place starts a stream on the best connection, dialling where there is none. fresh: on one just made for it.
func (p *Pool) place(ctx context.Context, k Key, authority string, h Header) (s *Stream, fresh bool, err error) {
	for range 2 * attempts {
		c, d, err := p.pick(k)
		if err != nil {
			return nil, false, err
		}
		if c != nil {
			if s := c.open(authority, h); s != nil {
				return s, fresh, nil
			}
			continue // others took its last slots
		}
		select {
		case <-d.done:
		case <-ctx.Done():
			p.leave(d)
			return nil, false, gaveUp(ctx, "waiting for the tunnel to "+k.String())
		}
		if d.err != nil {
			return nil, false, fmt.Errorf("tunnel to %s: %w", k, d.err)
		}
		fresh = true
	}
	return nil, false, fmt.Errorf("tunnel to %s: %w: the far end allows no streams on its connections", k, ErrRefused)
}

func gaveUp(ctx context.Context, what string) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w: %s", ErrTimeout, context.Cause(ctx), what)
	}
	return fmt.Errorf("%s: %w", what, context.Cause(ctx))
}

// calmBytes of big messages lately, and a connection counts as one that carries bulk.
const calmBytes = 16 << 20

// best is the connection for a new stream; nil if none takes one. Small messages of many streams leave and arrive
// together on one connection, and cost far less so; connections that have emptied end. So it is the fullest of those
// without bulk, beside which small messages wait. Where all carry bulk, it is the one with the least.
func (e *entry) best() *conn {
	var best *conn
	var most int
	var least uint64
	for _, c := range e.conns {
		slots, streams := c.load()
		if slots == 0 {
			continue
		}
		bulky := c.bulky.Load()
		if bulky < calmBytes {
			bulky = 0
		}
		if best == nil || bulky < least || bulky == least && streams > most {
			best, least, most = c, bulky, streams
		}
	}
	return best
}

// pick finds the best connection, or a dial to wait for.
func (p *Pool) pick(k Key) (*conn, *dial, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, fmt.Errorf("tunnel pool: %w", ErrClosed)
	}
	e := p.entries[k]
	if e == nil {
		e = &entry{}
		p.entries[k] = e
	}
	if c := e.best(); c != nil {
		return c, nil, nil
	}
	for _, d := range e.dials {
		if d.waiting < p.streams() {
			d.waiting++
			return nil, d, nil
		}
	}
	ctx, cancel := context.WithCancelCause(p.ctx)
	d := &dial{waiting: 1, cancel: cancel, done: make(chan struct{})}
	e.dials = append(e.dials, d)
	p.running.Add(1)
	go p.dial(ctx, k, d)
	return nil, d, nil
}

func (p *Pool) streams() int {
	if n := p.env.limits.Engine.MaxStreams; n > 0 {
		return n
	}
	return 100
}

// leave gives up waiting for d, which ends when nobody waits any more.
func (p *Pool) leave(d *dial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.waiting--; d.waiting == 0 {
		d.cancel(context.Canceled)
	}
}

func (p *Pool) forget(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.entries[c.info.Key]; e != nil {
		e.conns = slices.DeleteFunc(e.conns, func(x *conn) bool { return x == c })
		p.tidy(c.info.Key, e)
	}
}

// each collects the connections of the keys that f picks, and calls dialling with those in the making.
func (p *Pool) each(f func(Key) bool, dialling func(*dial)) (cs []*conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, e := range p.entries {
		if !f(k) {
			continue
		}
		cs = append(cs, e.conns...)
		for _, d := range e.dials {
			dialling(d)
		}
	}
	return cs
}

// Retire lets the streams of the picked connections end and opens no more on them; a new stream gets a new
// connection, with the certificates of the day.
func (p *Pool) Retire(f func(Key) bool) int {
	cs := p.each(f, func(*dial) {})
	for _, c := range cs {
		c.goAway()
	}
	return len(cs)
}

// CloseIf cuts the picked connections and those being made.
func (p *Pool) CloseIf(f func(Key) bool) int {
	cs := p.each(f, func(d *dial) { d.cancel(ErrClosed) })
	for _, c := range cs {
		c.fail(ErrClosed)
	}
	return len(cs)
}

// CloseIdentity cuts everything that shows source's certificate.
func (p *Pool) CloseIdentity(source string) int {
	return p.CloseIf(func(k Key) bool { return k.Source == source })
}

// Conns lists the connections.
func (p *Pool) Conns() []ConnInfo {
	return infos(p.each(func(Key) bool { return true }, func(*dial) {}))
}

// Driver names what moves the bytes: stdlib or records.
func (p *Pool) Driver() string { return p.env.driver() }

// Stats since the start.
func (p *Pool) Stats() Stats { return p.env.count.stats() }

// Close cuts everything and waits until it is gone.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.CloseIf(func(Key) bool { return true })
	p.running.Wait()
	return nil
}
