package record

import (
	"context"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Session is a TLS 1.3 connection after its handshake. One goroutine owns it with both its halves.
type Session struct {
	// State of the handshake: the peer's certificates, ALPN. Whoever has many sessions should keep only what
	// he needs of it.
	State tls.ConnectionState
	In    *In
	Out   *Out
	// Surplus is what was read from the socket beyond the handshake: records for In.Open, perhaps part of one.
	Surplus []byte
}

// Client makes the client's side of a handshake on c and takes the session over. base stays as it is; beyond
// it, TLS 1.3 is demanded and sessions are neither resumed nor resumable. ctx bounds the handshake, and when
// it ends, c is closed; otherwise c stays the caller's to close. Errors are crypto/tls's or wrap ErrTakeover.
func Client(ctx context.Context, c net.Conn, base *tls.Config) (*Session, error) {
	return takeOver(ctx, c, base, true)
}

// Server is Client for the server's side.
func Server(ctx context.Context, c net.Conn, base *tls.Config) (*Session, error) {
	return takeOver(ctx, c, base, false)
}

func takeOver(ctx context.Context, c net.Conn, base *tls.Config, client bool) (*Session, error) {
	t, w, s, err := shakeHands(ctx, c, base, client)
	if err != nil {
		return nil, err
	}
	if w.left != 0 {
		return nil, fmt.Errorf("%w: the handshake ended inside a record", ErrTakeover)
	}
	out, in := s.client, s.server
	if !client {
		out, in = in, out
	}
	return newSession(t.ConnectionState(), client, out, in, w.buf)
}

// shakeHands has crypto/tls make the handshake, and takes the socket from it.
func shakeHands(ctx context.Context, c net.Conn, base *tls.Config, client bool) (*tls.Conn, *wire, *secrets, error) {
	s := new(secrets)
	cfg, err := configFor(base, s)
	if err != nil {
		return nil, nil, nil, err
	}
	w := &wire{Conn: c}
	t := tls.Server(w, cfg)
	if client {
		t = tls.Client(w, cfg)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, nil, nil, err
	}
	w.over = true
	return t, w, s, nil
}

// configFor is base, tightened and with the way to the secrets.
func configFor(base *tls.Config, s *secrets) (*tls.Config, error) {
	switch {
	case base == nil:
		return nil, errors.New("record: no tls.Config")
	case fips140.Enabled():
		return nil, fmt.Errorf("%w in FIPS mode: run the tunnels on crypto/tls throughout (--tunnel-tls=stdlib)", ErrTakeover)
	case base.GetConfigForClient != nil:
		return nil, fmt.Errorf("%w with GetConfigForClient, whose tls.Config nobody tightens", ErrTakeover)
	case base.KeyLogWriter != nil:
		return nil, fmt.Errorf("%w: somebody else's KeyLogWriter would see its keys", ErrTakeover)
	}
	cfg := base.Clone()
	cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	cfg.SessionTicketsDisabled, cfg.ClientSessionCache = true, nil // a ticket would be record 0 of ours
	cfg.KeyLogWriter = s
	return cfg, nil
}

func newSession(state tls.ConnectionState, client bool, out, in, surplus []byte) (*Session, error) {
	switch {
	case !state.HandshakeComplete || state.Version != tls.VersionTLS13:
		return nil, fmt.Errorf("%w: it is not TLS 1.3, but %s", ErrTakeover, tls.VersionName(state.Version))
	case state.DidResume:
		return nil, fmt.Errorf("%w: it was resumed", ErrTakeover)
	}
	s, err := resume(state.CipherSuite, client, out, in)
	if err != nil {
		return nil, err
	}
	s.State, s.Surplus = state, surplus
	return s, nil
}

// resume makes a session of its secrets.
func resume(id uint16, client bool, out, in []byte) (*Session, error) {
	suite, err := suiteOf(id)
	if err != nil {
		return nil, err
	}
	s := &Session{Out: &Out{}}
	s.In = &In{out: s.Out, client: client}
	if err := errors.Join(s.Out.set(suite, out), s.In.set(suite, in)); err != nil {
		return nil, err
	}
	s.RekeyAfter(rekeyAfter)
	return s, nil
}

// RekeyAfter sets how many records a key of either direction protects before it is renewed; no more than the
// default of 2^23.
func (s *Session) RekeyAfter(n uint64) {
	n = max(1, min(n, rekeyAfter))
	s.In.rekeyAfter, s.Out.rekeyAfter = n, n
}
