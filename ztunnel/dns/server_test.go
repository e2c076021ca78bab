package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/pkg/telemetry"
)

// loopback is a Transport over an ordinary socket: every question is taken as asked of asked.
type loopback struct {
	*net.UDPConn
	asked   netip.AddrPort
	replied atomic.Pointer[netip.AddrPort] // from which address the last answer pretended to come
}

func (l *loopback) Receive(b []byte) (int, netip.AddrPort, netip.AddrPort, error) {
	n, from, err := l.ReadFromUDPAddrPort(b)
	return n, from, l.asked, err
}

func (l *loopback) Reply(b []byte, client, asked netip.AddrPort) error {
	l.replied.Store(&asked)
	_, err := l.WriteToUDPAddrPort(b, client)
	return err
}

// upstream is a real name server that knows example.com, and lies once before it answers lie.example.
func upstream(t *testing.T) netip.AddrPort {
	t.Helper()
	pc, l := bothSockets(t)
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		name := q.Question[0].Name
		if name == "silent.example." {
			return
		}
		if name == "lie.example." {
			forged := new(dns.Msg).SetReply(q)
			forged.Id++
			w.WriteMsg(forged)
		}
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, 1)}}
		w.WriteMsg(m)
	})
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go s.ActivateAndServe()
		<-started
		t.Cleanup(func() { s.Shutdown() })
	}
	return pc.LocalAddr().(*net.UDPAddr).AddrPort()
}

// bothSockets listens on one port over UDP and TCP: one that is free in both, which not every one is.
func bothSockets(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		pc, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if l, err := net.Listen("tcp", pc.LocalAddr().String()); err == nil {
			return pc, l
		}
		pc.Close()
	}
	t.Fatal("no port is free over both UDP and TCP")
	return nil, nil
}

func serve(t *testing.T, o ServerOptions) (*loopback, *telemetry.Metrics) {
	t.Helper()
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	m := telemetry.NewMetrics(telemetry.Options{})
	if o.Zone == nil {
		o.Zone = &Zone{Names: shop(), ClusterDomain: "cluster.local"}
	}
	o.Namespace, o.Metrics = "shop", &m.DNS
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, to.String())
		}
	}
	lo := &loopback{UDPConn: u, asked: netip.MustParseAddrPort("10.96.0.10:53")}
	done := make(chan error)
	go func() { done <- NewServer(o).Serve(t.Context(), lo) }()
	t.Cleanup(func() {
		u.Close()
		<-done
	})
	return lo, m
}

func exchange(t *testing.T, lo *loopback, name string) *dns.Msg {
	t.Helper()
	c := dns.Client{Timeout: 10 * time.Second}
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), lo.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestServe(t *testing.T) {
	lo, m := serve(t, ServerOptions{Upstream: upstream(t)})
	for name, want := range map[string]string{"cart.": "10.96.0.5", "example.com.": "192.0.2.1", "lie.example.": "192.0.2.1"} {
		r := exchange(t, lo, name)
		if len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != want {
			t.Errorf("%s: %v", name, r)
		}
		if got := *lo.replied.Load(); got != lo.asked {
			t.Errorf("%s answered as %s, want %s", name, got, lo.asked)
		}
	}
	counts := map[string]float64{}
	families, _ := m.Registry().Gather()
	for _, f := range families {
		for _, x := range f.GetMetric() {
			key := f.GetName()
			for _, l := range x.GetLabel() {
				key += " " + l.GetValue()
			}
			counts[key] = x.GetCounter().GetValue()
		}
	}
	if counts["weft_dns_requests_total mesh NOERROR"] != 1 || counts["weft_dns_requests_total upstream NOERROR"] != 2 || counts["weft_dns_upstream_requests_total"] != 2 {
		t.Errorf("counts %v", counts)
	}
}

func TestUpstreamThatFails(t *testing.T) {
	lo, _ := serve(t, ServerOptions{Dial: func(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, errors.New("unreachable") }})
	if r := exchange(t, lo, "example.com."); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", r)
	}
	if r := exchange(t, lo, "cart."); len(r.Answer) != 1 {
		t.Errorf("the mesh's names went with the upstream: %v", r)
	}
}

func TestGarbageIsIgnored(t *testing.T) {
	lo, _ := serve(t, ServerOptions{})
	c, err := net.Dial("udp", lo.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	response, _ := new(dns.Msg).SetReply(new(dns.Msg).SetQuestion("cart.", dns.TypeA)).Pack()
	for _, b := range [][]byte{{}, {1}, make([]byte, 12), response, make([]byte, 2000)} {
		c.Write(b)
	}
	if r := exchange(t, lo, "cart."); len(r.Answer) != 1 {
		t.Errorf("%v", r)
	}
}

func TestTCP(t *testing.T) {
	lo, _ := serve(t, ServerOptions{})
	s := NewServer(ServerOptions{Zone: &Zone{Names: shop(), ClusterDomain: "cluster.local"}, Namespace: "shop", Upstream: upstream(t),
		Dial: func(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, to.String())
		}})
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); s.ServeConn(t.Context(), server, lo.asked) }()
	dc := &dns.Conn{Conn: client}
	for name, want := range map[string]int{"cart.": dns.RcodeSuccess, "example.com.": dns.RcodeSuccess} {
		if err := dc.WriteMsg(new(dns.Msg).SetQuestion(name, dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if r, err := dc.ReadMsg(); err != nil || r.Rcode != want || len(r.Answer) != 1 {
			t.Errorf("%s: %v %v", name, r, err)
		}
	}
	if err := dc.WriteMsg(new(dns.Msg).SetAxfr("example.com.")); err != nil {
		t.Fatal(err)
	}
	if r, err := dc.ReadMsg(); err != nil || r.Rcode != dns.RcodeRefused {
		t.Errorf("AXFR: %v %v", r, err)
	}
	client.Close()
	<-done
}
