package hbone

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/hbone/record"
)

// handshake is one TLS handshake with what the mesh demands on top of a caller's tls.Config.
type handshake struct {
	client bool
	local  *x509.Certificate // the leaf we showed
	verify error             // why the peer's certificate was refused
	own    error             // why we have none to show
}

var errUnverified = errors.New("the tls.Config verifies nobody")

// config tightens base, which stays as it is.
func (h *handshake) config(base *tls.Config) (*tls.Config, error) {
	if base == nil {
		return nil, errors.New("no tls.Config")
	}
	c := base.Clone()
	c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	c.NextProtos = []string{"h2"}
	c.SessionTicketsDisabled, c.ClientSessionCache = true, nil // a resumed session would outlive its certificate
	c.DynamicRecordSizingDisabled = true
	c.KeyLogWriter = nil
	custom := c.VerifyConnection != nil || c.VerifyPeerCertificate != nil
	if h.client {
		if c.InsecureSkipVerify && !custom {
			return nil, errUnverified
		}
		c.GetClientCertificate = h.clientCertificate(c)
	} else {
		if c.GetConfigForClient != nil {
			return nil, errors.New("GetConfigForClient would go around the mesh's demands: choose the tls.Config by the connection")
		}
		if !custom && c.ClientAuth != tls.RequireAndVerifyClientCert {
			return nil, errUnverified
		}
		c.ClientAuth = max(c.ClientAuth, tls.RequireAnyClientCert)
		if c.ClientAuth == tls.VerifyClientCertIfGiven {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}
		c.GetCertificate = h.serverCertificate(c)
	}
	c.Certificates = nil
	c.VerifyConnection = h.verifier(c.VerifyConnection)
	return c, nil
}

func (h *handshake) verifier(next func(tls.ConnectionState) error) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		err := checkState(cs)
		if err == nil && next != nil {
			err = next(cs)
		}
		if err == nil {
			_, err = peerID(cs)
		}
		h.verify = err
		return err
	}
}

func checkState(cs tls.ConnectionState) error {
	switch {
	case cs.Version != tls.VersionTLS13:
		return fmt.Errorf("peer speaks %s, the mesh TLS 1.3", tls.VersionName(cs.Version))
	case !goodSuite(cs.CipherSuite):
		return fmt.Errorf("cipher suite %s, the mesh uses AES-GCM (does one side's CPU lack AES instructions?)", tls.CipherSuiteName(cs.CipherSuite))
	case cs.NegotiatedProtocol != "h2":
		return fmt.Errorf("peer did not agree on ALPN h2 (%q): it is no client of HBONE", cs.NegotiatedProtocol)
	case len(cs.PeerCertificates) == 0:
		return errors.New("peer showed no certificate: the mesh speaks mutual TLS only")
	}
	return nil
}

// peerID is the one URI name of the peer's leaf.
func peerID(cs tls.ConnectionState) (string, error) {
	u := cs.PeerCertificates[0].URIs
	if len(u) != 1 || u[0].Scheme != "spiffe" {
		return "", fmt.Errorf("peer's certificate has %d URI names, a workload's has exactly one SPIFFE id", len(u))
	}
	return u[0].String(), nil
}

func (h *handshake) clientCertificate(c *tls.Config) func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	get, own := c.GetClientCertificate, c.Certificates
	return func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if get != nil {
			return h.show(get(i))
		}
		return h.showFirst(own)
	}
}

func (h *handshake) serverCertificate(c *tls.Config) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	get, own := c.GetCertificate, c.Certificates
	return func(i *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if get != nil {
			return h.show(get(i))
		}
		return h.showFirst(own)
	}
}

func (h *handshake) showFirst(own []tls.Certificate) (*tls.Certificate, error) {
	if len(own) == 0 {
		return h.show(nil, errors.New("no own certificate"))
	}
	return h.show(&own[0], nil)
}

// show remembers the leaf, whose end is the connection's.
func (h *handshake) show(c *tls.Certificate, err error) (*tls.Certificate, error) {
	if err == nil && (c == nil || len(c.Certificate) == 0) {
		err = errors.New("no own certificate")
	}
	if err == nil {
		if h.local = c.Leaf; h.local == nil {
			h.local, err = x509.ParseCertificate(c.Certificate[0])
		}
	}
	if err != nil {
		h.own = err
		return nil, err
	}
	return c, nil
}

// run shakes hands over nc within limits and returns a connection ready to start. nc is closed on failure.
func (e *env) handshake(ctx context.Context, nc net.Conn, base *tls.Config, client bool) (*conn, error) {
	h := &handshake{client: client}
	cfg, err := h.config(base)
	if err != nil {
		nc.Close()
		return nil, e.failed(nc, CauseConfig, handshakeError(err, "a fault of this program, not of its peer"))
	}
	e.tune(nc)
	_ = nc.SetDeadline(time.Now().Add(e.limits.Handshake)) // an error shows in the handshake
	c, err := h.shake(ctx, e, nc, cfg)
	if err != nil {
		nc.Close()
		cause, err := h.explain(err, e.limits.Handshake)
		return nil, e.failed(nc, cause, err)
	}
	return c, nil
}

// shake shakes hands and gives the connection its driver.
func (h *handshake) shake(ctx context.Context, e *env, nc net.Conn, cfg *tls.Config) (*conn, error) {
	if e.shards != nil {
		return h.records(ctx, e, nc, cfg)
	}
	w := newWire(nc, e.cipher)
	t := tls.Server(w, cfg)
	if h.client {
		t = tls.Client(w, cfg)
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	w.batch = true
	c := e.newConn(t.ConnectionState(), nc, h)
	c.d = newGoDriver(c, w, t)
	return c, nil
}

// records shakes hands by crypto/tls, which then leaves the socket to a shard.
func (h *handshake) records(ctx context.Context, e *env, nc net.Conn, cfg *tls.Config) (*conn, error) {
	shake := record.Server
	if h.client {
		shake = record.Client
	}
	s, err := shake(ctx, nc, cfg)
	if err != nil {
		return nil, err
	}
	_ = nc.SetDeadline(time.Time{})
	c := e.newConn(s.State, nc, h)
	fd, err := takeFD(nc)
	if err != nil {
		return nil, err
	}
	e.rekey(s)
	c.d = newTunnel(e.shards.pick(), c, fd, s)
	return c, nil
}

func (e *env) failed(nc net.Conn, cause string, err error) error {
	e.count.failed.Add(1)
	if f := e.events.HandshakeFailed; f != nil {
		f(cause, addrPort(nc.RemoteAddr()), err)
	}
	return err
}

// explain finds the cause of a failed handshake.
func (h *handshake) explain(err error, limit time.Duration) (cause string, _ error) {
	var unverified *tls.CertificateVerificationError
	switch {
	case h.own != nil:
		return CauseConfig, handshakeError(err, "this workload has no certificate; see what the certificate manager says")
	case h.verify != nil, errors.As(err, &unverified), strings.Contains(err.Error(), "didn't provide a certificate"):
		return CauseCertificate, fmt.Errorf("%w: %w: %w", ErrHandshake, ErrPeerIdentity, err)
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return CauseTimeout, fmt.Errorf("%w: %w after %v (does a network policy swallow packets to this port, or is the peer overloaded?)", ErrHandshake, ErrTimeout, limit)
	case errors.Is(err, context.Canceled):
		return CauseOther, handshakeError(err, "given up by the caller")
	case isAlert(err):
		return CauseRefused, handshakeError(err, "the peer refused our certificate or our TLS; its log says why")
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "connection reset"):
		return CauseRefused, handshakeError(err, "the peer hung up in the handshake: is it a tunnel's port?")
	case strings.HasPrefix(err.Error(), "tls: "):
		return CauseProtocol, handshakeError(err, "the peer does not speak the mesh's TLS 1.3 with ALPN h2 and a client certificate")
	}
	return CauseOther, handshakeError(err, "the connection broke in the handshake")
}

func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
