package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// forward sends the question as it came, and returns the answer as it came.
func (s *Server) forward(ctx context.Context, network string, raw []byte, q *dns.Msg, to netip.AddrPort) ([]byte, error) {
	if s.o.Upstream.IsValid() {
		to = s.o.Upstream
	}
	if m := s.o.Metrics; m != nil {
		m.Upstream.Inc()
		start := time.Now()
		defer func() { m.UpstreamSeconds.Observe(time.Since(start).Seconds()) }()
	}
	var errs []error
	for range upstreamTries {
		answer, rcode, err := s.exchange(ctx, network, raw, q, to)
		if err == nil {
			s.count("upstream", rcode)
			return answer, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	s.count("none", dns.RcodeServerFailure)
	if s.o.Metrics != nil {
		s.o.Metrics.UpstreamFailures.Inc()
	}
	return nil, fmt.Errorf("name server %s did not answer over %s (it may be down, or a NetworkPolicy keeps the pod from it): %w",
		to, network, errors.Join(errs...))
}

func (s *Server) exchange(ctx context.Context, network string, raw []byte, q *dns.Msg, to netip.AddrPort) ([]byte, int, error) {
	ctx, cancel := context.WithTimeout(ctx, upstreamTimeout)
	defer cancel()
	c, err := s.o.Dial(ctx, network, to)
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	dc := &dns.Conn{Conn: c, UDPSize: udpSize(q)}
	if network == "tcp" {
		_, err = dc.Write(raw)
	} else {
		_, err = c.Write(raw)
	}
	if err != nil {
		return nil, 0, err
	}
	for {
		answer, err := dc.ReadMsgHeader(nil)
		if err != nil {
			return nil, 0, err
		}
		if m := new(dns.Msg); m.Unpack(answer) == nil && answers(q, m) {
			return answer, m.Rcode, nil
		}
		// Not the answer to this question: forged or late. The deadline ends the waiting.
	}
}

// answers reports that m belongs to q.
func answers(q, m *dns.Msg) bool {
	if !m.Response || m.Id != q.Id || len(m.Question) > len(q.Question) {
		return false
	}
	for i, x := range m.Question {
		y := q.Question[i]
		if x.Qtype != y.Qtype || x.Qclass != y.Qclass || !strings.EqualFold(x.Name, y.Name) {
			return false
		}
	}
	return true
}

// udpSize is the largest answer that the question allows.
func udpSize(q *dns.Msg) uint16 {
	if opt := q.IsEdns0(); opt != nil {
		return max(opt.UDPSize(), dns.MinMsgSize)
	}
	return dns.MinMsgSize
}
