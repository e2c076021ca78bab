package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/telemetry"
)

// Transport carries the packets of one pod.
type Transport interface {
	// Receive returns the next packet, who sent it and which address it was sent to.
	Receive(b []byte) (n int, from, to netip.AddrPort, err error)
	// Reply sends b to a client as if it came from the address that the client asked.
	Reply(b []byte, client, asked netip.AddrPort) error
}

// Dialer reaches name servers from the pod's network namespace. network is udp or tcp.
type Dialer func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)

// Limits of a Server.
const (
	maxForwards     = 256             // questions of one pod waiting for an upstream; more get SERVFAIL
	upstreamTimeout = 2 * time.Second // of one attempt
	upstreamTries   = 2
	tcpIdle         = 10 * time.Second
)

// ServerOptions of NewServer.
type ServerOptions struct {
	// Zone answers for the mesh. Required.
	Zone *Zone
	// Namespace of the pod, from which short names are understood.
	Namespace string
	// Dial reaches upstream name servers. Required.
	Dial Dialer
	// Upstream is asked instead of the name server that the pod named. Zero: that one.
	Upstream netip.AddrPort
	// Metrics count the questions. nil: nobody does.
	Metrics *telemetry.DNSMetrics
	// Log of oddities. nil: none.
	Log *zap.Logger
}

// Server answers one pod.
type Server struct {
	o        ServerOptions
	forwards chan struct{} // a token for each question that waits for an upstream
	wg       sync.WaitGroup
}

// NewServer makes a server; it runs in Serve and ServeConn.
func NewServer(o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Server{o: o, forwards: make(chan struct{}, maxForwards)}
}

// Serve answers packets until t fails for good or ctx ends, and waits for what it forwarded.
func (s *Server) Serve(ctx context.Context, t Transport) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel()
	buf := make([]byte, dns.MaxMsgSize)
	for {
		n, from, to, err := t.Receive(buf)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ctx.Err()
		}
		if err != nil {
			s.o.Log.Debug("cannot read a DNS packet", zap.Error(err))
			if !pause(ctx, 50*time.Millisecond) {
				return ctx.Err()
			}
			continue
		}
		s.packet(ctx, t, buf[:n], from, to)
	}
}

// packet answers at once what the mesh knows, and forwards the rest beside the reading loop.
func (s *Server) packet(ctx context.Context, t Transport, b []byte, from, to netip.AddrPort) {
	q := new(dns.Msg)
	if err := q.Unpack(b); err != nil || q.Response {
		return // no answer to what is no question: nothing to amplify
	}
	if reply := s.o.Zone.Answer(q, s.o.Namespace); reply != nil {
		s.count("mesh", reply.Rcode)
		fit(q, reply)
		s.send(t, reply, from, to)
		return
	}
	select {
	case s.forwards <- struct{}{}:
	default:
		s.count("none", dns.RcodeServerFailure)
		s.send(t, failure(q), from, to)
		return
	}
	raw := append([]byte(nil), b...)
	s.wg.Go(func() {
		defer func() { <-s.forwards }()
		answer, err := s.forward(ctx, "udp", raw, q, to)
		if err != nil {
			s.o.Log.Debug("cannot forward a DNS question", zap.Error(err))
			s.send(t, failure(q), from, to)
			return
		}
		if err := t.Reply(answer, from, to); err != nil {
			s.o.Log.Debug("cannot answer a DNS question", zap.Error(err))
		}
	})
}

// ServeConn answers a captured TCP connection to port 53 of the name server to. It closes c.
func (s *Server) ServeConn(ctx context.Context, c net.Conn, to netip.AddrPort) {
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	dc := &dns.Conn{Conn: c}
	for {
		if err := c.SetDeadline(time.Now().Add(tcpIdle)); err != nil {
			return
		}
		raw, err := dc.ReadMsgHeader(nil)
		if err != nil {
			return
		}
		q := new(dns.Msg)
		if err := q.Unpack(raw); err != nil || q.Response {
			return
		}
		if err := s.answerTCP(ctx, dc, raw, q, to); err != nil {
			return
		}
	}
}

func (s *Server) answerTCP(ctx context.Context, dc *dns.Conn, raw []byte, q *dns.Msg, to netip.AddrPort) error {
	if len(q.Question) == 1 && (q.Question[0].Qtype == dns.TypeAXFR || q.Question[0].Qtype == dns.TypeIXFR) {
		m := failure(q)
		m.Rcode = dns.RcodeRefused // a transfer is many messages: not for pods
		return dc.WriteMsg(m)
	}
	if reply := s.o.Zone.Answer(q, s.o.Namespace); reply != nil {
		s.count("mesh", reply.Rcode)
		if opt := q.IsEdns0(); opt != nil {
			reply.SetEdns0(maxUDP, opt.Do())
		}
		return dc.WriteMsg(reply)
	}
	answer, err := s.forward(ctx, "tcp", raw, q, to)
	if err != nil {
		return dc.WriteMsg(failure(q))
	}
	_, err = dc.Write(answer)
	return err
}

func (s *Server) send(t Transport, m *dns.Msg, client, asked netip.AddrPort) {
	b, err := m.Pack()
	if err == nil {
		err = t.Reply(b, client, asked)
	}
	if err != nil {
		s.o.Log.Debug("cannot answer a DNS question", zap.Stringer("client", client), zap.Error(err))
	}
}

func (s *Server) count(by string, rcode int) {
	if s.o.Metrics == nil {
		return
	}
	s.o.Metrics.Requests.WithLabelValues(by, rcodeName(rcode)).Inc()
}

// rcodeName keeps the label's values few whatever an upstream says.
func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return "other"
}

func failure(q *dns.Msg) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure) }

// pause waits unless ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
