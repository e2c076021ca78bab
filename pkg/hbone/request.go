package hbone

import (
	"crypto/x509"
	"net/netip"
	"sync/atomic"

	"github.com/weftmesh/weft/pkg/hbone/engine"
)

// ReasonHeader carries Reject's reason to the peer.
const ReasonHeader = "x-weft-reason"

// Request is a CONNECT that waits for its answer.
type Request struct {
	// Authority as it was sent: address:port or host:port, not validated beyond that it is there.
	Authority string
	Header    Header
	// PeerID is the SPIFFE URI of the peer's verified certificate, Peer its leaf.
	PeerID        string
	Peer          *x509.Certificate
	Remote, Local netip.AddrPort

	s        *Stream
	answered atomic.Bool
}

// Accept answers 200 and opens the stream, which the caller must Splice or Close.
func (r *Request) Accept(h Header) (*Stream, error) {
	if r.answered.Swap(true) {
		return nil, ErrAnswered
	}
	s := r.s
	c := s.c
	c.mu.Lock()
	err := s.broken()
	if s.request = nil; err == nil {
		c.eng.Respond(s.es, 200, h, false)
		c.d.kick()
	}
	c.mu.Unlock()
	if err != nil {
		return nil, s.why(err)
	}
	return s, nil
}

// Reject answers with a status other than 200. A reason is sent along in ReasonHeader.
func (r *Request) Reject(status int, reason string, h Header) error {
	if r.answered.Swap(true) {
		return ErrAnswered
	}
	if reason != "" {
		h = append(h[:len(h):len(h)], Field{Name: ReasonHeader, Value: printable(reason)})
	}
	s := r.s
	c := s.c
	c.env.count.refused.Add(1)
	c.mu.Lock()
	err := s.broken()
	if s.request = nil; err == nil {
		c.eng.Respond(s.es, status, h, true)
		c.d.kick()
	}
	c.drained()
	c.mu.Unlock()
	c.settle()
	s.end(&ResetError{Code: engine.NoError, Local: true})
	if err != nil {
		return s.why(err)
	}
	return nil
}

// printable makes a text fit for a header's value.
func printable(s string) string {
	b := []byte(s)
	for i, x := range b {
		if x < ' ' || x > '~' {
			b[i] = '?'
		}
	}
	return string(b[:min(len(b), 1024)])
}
