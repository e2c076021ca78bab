package hbone

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// conn is one tunnel connection of either role.
//
// Locks: mu protects the engine and the output; a stream's rmu its input. Neither is taken while the other
// is held, nor is any socket waited for under them.
type conn struct {
	env    *env
	client bool
	d      driver
	peer   *x509.Certificate
	info   ConnInfo
	retire time.Time // no new streams from then on; a while before info.NotAfter

	onRequest func(s *Stream, authority string, h Header) // server's
	onClose   func(*conn)

	mu      sync.Mutex
	eng     *engine.Conn
	bulk    []byte // DATA frames, written after what the engine has
	bulkBuf *[]byte
	bulkGen uint32    // counts the bulks taken for writing
	share   int       // what a stream may have of a bulk
	until   time.Time // the connection ends then
	smallAt time.Time // when a small message was sent last
	near    bool      // a short path: windows need not be full
	frozen  bool      // exported: nobody may change what another process may go on with
	writing bool      // output is on its way to the socket,
	since   time.Time // and has made no progress since
	waiting []*Stream // for room in bulk, in the order in which they come to it
	guests  int       // how many of them were asked to come, and have not yet
	err     error     // final
	timer   Timer
	bulky   atomic.Uint64 // bytes of big messages moved lately, for the choice among a pool's connections

	closeOnce sync.Once
	done      chan struct{} // the socket is closed, and all streams have ended
}

// driver moves a connection's bytes. There are two: a goroutine for each connection with crypto/tls
// (goDriver), and the shards with their own records (tunnel).
type driver interface {
	// start begins to read.
	start()
	// kick has what is pending written; c.mu is held. The caller does not wait.
	kick()
	// flush is kick for a caller that may wait for the socket itself; c.mu is held, and may be given up meanwhile.
	flush()
	// unflushed reports output besides the engine's and the bulk; c.mu is held.
	unflushed() bool
	// end says goodbye and closes, now that c.err is set; c.mu is held.
	end()
	// near reports a path so short that no window has to be full on it. false: not known.
	near() bool
	// drop closes a connection that was not started.
	drop()
}

// newConn makes a connection of a socket on which hands were shaken. Its driver is to be set.
func (e *env) newConn(cs tls.ConnectionState, nc net.Conn, h *handshake) *conn {
	o := e.limits.Engine
	o.Client = h.client
	if !h.client && o.PingEvery == 0 {
		o.PingEvery = 15 * time.Second // the client asks every 10 s, and so need not be asked
	}
	c := &conn{env: e, client: h.client, peer: cs.PeerCertificates[0], bulkGen: 1 + calmBulks, share: e.limits.Batch, done: make(chan struct{})}
	now := e.clock.Now()
	c.eng = engine.New(o, now)
	id, _ := peerID(cs) // verified in the handshake
	c.info = ConnInfo{PeerID: id, Local: addrPort(nc.LocalAddr()), Remote: addrPort(nc.RemoteAddr()), Opened: now, NotAfter: c.peer.NotAfter}
	begin := c.peer.NotBefore
	if h.local != nil && h.local.NotAfter.Before(c.info.NotAfter) {
		c.info.NotAfter, begin = h.local.NotAfter, h.local.NotBefore
	}
	c.retire = c.info.NotAfter.Add(-min(time.Minute, c.info.NotAfter.Sub(begin)/10))
	if c.until = c.info.NotAfter; !now.Before(c.retire) {
		c.retire = c.until // nobody has a better certificate
	}
	return c
}

// start runs the connection. The handlers must be set.
func (c *conn) start() {
	c.env.count.conns.Add(1)
	if f := c.env.events.ConnOpened; f != nil {
		f(c.snapshot())
	}
	c.mu.Lock()
	if d := c.untilTick(c.env.clock.Now()); c.err == nil {
		c.timer = c.env.clock.AfterFunc(d, c.tick)
	}
	c.near = c.d.near()
	c.d.kick()
	c.mu.Unlock()
	c.settle()
	c.d.start()
}

func (c *conn) snapshot() ConnInfo {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.info
	i.Streams, i.Draining = c.eng.Streams(), c.eng.Draining() || c.err != nil
	return i
}

// untilTick does what is due and says when something will be; mu is held.
func (c *conn) untilTick(now time.Time) time.Duration {
	next, err := c.eng.Tick(now)
	switch {
	case errors.Is(err, engine.ErrIdle):
		c.failLocked(nil)
	case err != nil:
		c.failLocked(err)
	case !now.Before(c.until):
		c.failLocked(fmt.Errorf("%w at %s, and nobody vouches for the streams that are left", ErrExpired, c.info.NotAfter.Format(time.RFC3339)))
	case c.writing && !c.since.IsZero() && now.Sub(c.since) >= c.env.limits.Write:
		c.failLocked(fmt.Errorf("%w: the peer has not read for %v", ErrTimeout, c.env.limits.Write))
	case !now.Before(c.retire) && !c.eng.Draining():
		c.eng.GoAway()
	}
	for _, t := range []time.Time{c.retire, c.until} {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	if c.writing {
		next = earlier(next, now.Add(c.env.limits.Write/2))
	}
	if c.eng.Holding() {
		next = earlier(next, now.Add(time.Second))
	}
	return max(next.Sub(now), time.Millisecond)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// prolong asks whether streams may go on for which a certificate has ended.
func (c *conn) prolong() {
	vouch, now := c.env.vouch, c.env.clock.Now()
	c.mu.Lock()
	due := c.err == nil && !now.Before(c.until) && c.eng.Streams() > 0
	c.mu.Unlock()
	if !due || vouch == nil {
		return
	}
	until := vouch(c.snapshot())
	c.mu.Lock()
	c.until = until
	c.mu.Unlock()
}

func (c *conn) tick() {
	c.prolong()
	c.mu.Lock()
	if c.err == nil && !c.frozen {
		now := c.env.clock.Now()
		d := c.untilTick(now)
		if c.err == nil {
			c.timer.Reset(d)
		}
		c.bulky.Store(c.bulky.Load() / 2)
		c.near = c.d.near()
		c.letGo(now)
		if c.eng.Holding() && c.eng.Loosen() {
			c.wakeSendable()
		}
		c.drained()
		c.d.kick()
	}
	c.mu.Unlock()
	c.settle()
}

// drained ends a connection that takes no streams and has none; mu is held.
func (c *conn) drained() {
	if c.err == nil && c.eng.Finished() {
		c.failLocked(nil)
	}
}

// goAway lets the streams end and takes no more.
func (c *conn) goAway() {
	c.mu.Lock()
	if c.err == nil {
		c.eng.GoAway()
		c.drained()
		c.d.kick()
	}
	c.mu.Unlock()
	c.settle()
}

// fail ends the connection; nil is an orderly end.
func (c *conn) fail(err error) {
	c.mu.Lock()
	c.failLocked(err)
	c.mu.Unlock()
	c.settle()
}

// errOrderly stands in conn.err after an orderly end.
var errOrderly = fmt.Errorf("%w: the connection was released", ErrClosed)

// failLocked notes the end of the connection; settle must follow once mu is free.
func (c *conn) failLocked(err error) {
	if c.err != nil {
		return
	}
	if err == nil {
		err = errOrderly
		if c.eng.Streams() > 0 {
			err = connLost(io.ErrUnexpectedEOF)
		}
	} else {
		err = connLost(err)
	}
	c.err = err
	if c.timer != nil {
		c.timer.Stop()
	}
	var ce *engine.ConnError
	if errors.As(err, &ce) && ce.Flood != "" {
		c.env.count.floods.Add(1)
	}
	c.eng.GoAway()
	c.wakeAll()
	c.d.end()
}

const (
	// lastWords bounds the time between the end of a connection and that of its socket.
	lastWords = time.Second
	// discardMost is how much of a faulty peer's input is thrown away meanwhile.
	discardMost = 4 << 20
)

// settle resets the streams of a connection that has failed.
func (c *conn) settle() {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err == nil {
		return
	}
	c.closeOnce.Do(func() {
		c.abandon(err)
		c.report(err)
	})
}

// abandon resets every stream.
func (c *conn) abandon(err error) {
	var all []*Stream
	c.mu.Lock()
	c.eng.Each(func(s *engine.Stream) {
		if st, ok := s.User.(*Stream); ok {
			all = append(all, st)
		}
	})
	for _, s := range all {
		c.eng.Reset(s.es, engine.Cancel)
	}
	c.mu.Unlock()
	for _, s := range all {
		s.end(&ResetError{Err: err})
	}
}

func (c *conn) report(err error) {
	i := c.snapshot()
	var ce *engine.ConnError
	if errors.As(err, &ce) && ce.Flood != "" {
		if f := c.env.events.Flood; f != nil {
			f(ce.Flood, i)
		}
	}
	if errors.Is(err, errOrderly) {
		err = nil
	} else {
		c.env.log.Debug("tunnel connection ended", zap.String("peer", i.PeerID), zap.Stringer("remote", i.Remote), zap.Error(err))
	}
	if f := c.env.events.ConnClosed; f != nil {
		f(i, err)
	}
	if c.onClose != nil {
		c.onClose(c)
	}
}
