package hbone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ServerOptions of a Server.
type ServerOptions struct {
	// TLS gives the configuration for an accepted connection. Required. It must verify the client's
	// certificate; TLS 1.3, ALPN h2, AES-GCM and that a certificate is shown are seen to here.
	TLS func(ctx context.Context, c net.Conn) (*tls.Config, error)
	// Handler answers a CONNECT, on a goroutine of its own. Its context ends with it, or with the stream, and then the
	// cause is a *ResetError; with ErrMoved, another process asks its Handler again. A request that it leaves unanswered is rejected with 503; a stream that it leaves open is reset, unless it gave it to
	// Stream.Start. Required.
	Handler func(ctx context.Context, r *Request)
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

// Server accepts tunnel connections.
type Server struct {
	o    ServerOptions
	env  *env
	ctx  context.Context
	stop context.CancelFunc
	hand chan struct{} // a token for each handshake under way

	mu        sync.Mutex // protects what follows
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	closing   bool
	running   sync.WaitGroup // handshakes, connections and handlers
}

// NewServer makes a server; Serve or ServeConn run it.
func NewServer(o ServerOptions) *Server {
	s := &Server{o: o, env: newEnv(o.Limits, o.Clock, o.Log, o.Events), conns: map[*conn]struct{}{}, listeners: map[net.Listener]struct{}{}}
	s.env.vouch, s.env.shards = o.Vouch, o.Shards
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.hand = make(chan struct{}, s.env.limits.Handshakes)
	return s
}

// Serve accepts from l until Shutdown or Close, and then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		l.Close()
		return nil
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		l.Close()
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			pause = 5 * time.Millisecond
			go s.serve(nc)
		case s.isClosing():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("hbone: accept: %w", err)
		default: // out of descriptors or memory: others may free some
			s.env.log.Warn("cannot accept tunnel connections, will try again", zap.Error(err), zap.Duration("pause", pause))
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
			pause = min(2*pause, time.Second)
		}
	}
}

func (s *Server) serve(nc net.Conn) {
	if err := s.ServeConn(s.ctx, nc); err != nil {
		s.env.log.Debug("tunnel connection", zap.Stringer("remote", nc.RemoteAddr()), zap.Error(err))
	}
}

// ServeConn serves one connection and returns when it is over, or when its handshake has failed; err tells
// of the handshake. It closes nc. ctx bounds the handshake.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	if !s.enter() {
		nc.Close()
		return ErrClosed
	}
	defer s.running.Done()
	c, err := s.handshake(ctx, nc)
	if err != nil {
		return err
	}
	c.onRequest = func(st *Stream, authority string, h Header) { s.request(c, st, authority, h) }
	c.onClose = s.forget
	s.mu.Lock()
	closing := s.closing
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.start()
	if closing {
		c.goAway()
	}
	if s.ctx.Err() != nil {
		c.fail(ErrClosed) // it was too late for cut
	}
	<-c.done
	return nil
}

// enter counts one more goroutine, unless the server is closing.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.running.Add(1)
	return true
}

func (s *Server) handshake(ctx context.Context, nc net.Conn) (*conn, error) {
	select {
	case s.hand <- struct{}{}:
		defer func() { <-s.hand }()
	default:
		nc.Close()
		return nil, s.env.failed(nc, CauseBusy, fmt.Errorf("%w: %d handshakes are under way already", ErrHandshake, cap(s.hand)))
	}
	cfg, err := s.o.TLS(ctx, nc)
	if err != nil {
		nc.Close()
		return nil, s.env.failed(nc, CauseConfig, handshakeError(err, "no certificate for this workload"))
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	return s.env.handshake(ctx, nc, cfg, false)
}

// request runs the handler of one CONNECT.
func (s *Server) request(c *conn, st *Stream, authority string, h Header) {
	r := &Request{Authority: authority, Header: h, PeerID: c.info.PeerID, Peer: c.peer, Remote: c.info.Remote, Local: c.info.Local, s: st}
	ctx, cancel := context.WithCancelCause(context.Background())
	c.mu.Lock()
	st.request = r
	c.mu.Unlock()
	st.onEnd(func() { cancel(st.why(context.Canceled)) })
	s.running.Add(1) // ServeConn holds one, so this is not from zero
	st.running = &s.running
	go func() {
		defer s.running.Done()
		defer cancel(nil)
		s.o.Handler(ctx, r)
		if st.started.Load() {
			st.onEnd(nil) // the context ends with the handler
			return
		}
		// Too late if it was answered, which is the rule.
		_ = r.Reject(503, "the connection was not handled", nil)
		st.Close()
	}()
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Server) all() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	cs := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		cs = append(cs, c)
	}
	return cs
}

// Conns lists the connections.
func (s *Server) Conns() []ConnInfo { return infos(s.all()) }

func infos(cs []*conn) []ConnInfo {
	is := make([]ConnInfo, len(cs))
	for i, c := range cs {
		is[i] = c.snapshot()
	}
	return is
}

// Driver names what moves the bytes: stdlib or records.
func (s *Server) Driver() string { return s.env.driver() }

// Stats since the start.
func (s *Server) Stats() Stats { return s.env.count.stats() }

// CloseIf cuts the connections that f picks and says how many.
func (s *Server) CloseIf(f func(ConnInfo) bool) (n int) {
	for _, c := range s.all() {
		if f(c.snapshot()) {
			c.fail(ErrClosed)
			n++
		}
	}
	return n
}

// Shutdown stops accepting, tells peers by GOAWAY to go elsewhere, and waits until all streams have ended
// and all handlers returned. When ctx ends, what is left is reset, and ctx's cause returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.beginClosing()
	for _, c := range s.all() {
		c.goAway()
	}
	over := make(chan struct{})
	go func() {
		s.running.Wait()
		close(over)
	}()
	select {
	case <-over:
		s.stop()
		return nil
	case <-ctx.Done():
	}
	s.stop()
	s.cut()
	<-over
	return context.Cause(ctx)
}

// Close cuts everything and waits until handlers have returned.
func (s *Server) Close() error {
	s.beginClosing()
	s.stop()
	s.cut()
	s.running.Wait()
	return nil
}

func (s *Server) cut() {
	for _, c := range s.all() {
		c.fail(ErrClosed)
	}
}

func (s *Server) beginClosing() {
	s.mu.Lock()
	s.closing = true
	for l := range s.listeners {
		l.Close()
	}
	s.mu.Unlock()
}
