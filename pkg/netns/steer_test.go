package netns

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestDestroyTCP(t *testing.T) {
	ns := fresh(t, "10.9.0.1/32", "fd09::1/128")
	for _, at := range []string{"10.9.0.1:8080", "[fd09::1]:8080"} {
		addr := netip.MustParseAddrPort(at)
		l, err := ns.ListenTCP(ListenOptions{Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var conns []net.Conn
		for range 2 {
			c, err := ns.DialTCP(context.Background(), addr, DialOptions{Timeout: 5 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			conns = append(conns, c, s)
		}
		doomed := conns[0].LocalAddr().(*net.TCPAddr).AddrPort()
		n, err := ns.DestroyTCP(func(local, _ netip.AddrPort) bool { return local == doomed })
		if err != nil || n != 1 {
			t.Fatalf("%s: ended %d connections, %v", at, n, err)
		}
		if _, err := conns[0].Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: the application was not told: %v", at, err)
		}
		if _, err := conns[1].Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the peer was not told: %v", at, err)
		}
		conns[2].Write([]byte("x"))
		if _, err := conns[3].Read(make([]byte, 1)); err != nil {
			t.Errorf("%s: a bystander was ended: %v", at, err)
		}
	}
}

func TestPacketConnAnswersFromOriginalDestination(t *testing.T) {
	ns := fresh(t, "10.9.0.1/32", "10.9.0.53/32", "fd09::1/128", "fd09::53/128")
	for at, server := range map[string]string{"0.0.0.0:15053": "10.9.0.53:15053", "[::]:15053": "[fd09::53]:15053"} {
		p, err := ns.ListenPacket(ListenOptions{Addr: netip.MustParseAddrPort(at), ReusePort: true})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			b := make([]byte, 64)
			n, from, to, err := p.Receive(b)
			if err == nil {
				p.Reply(b[:n], from, to)
			}
		}()
		to := netip.MustParseAddrPort(server)
		wild := netip.IPv4Unspecified()
		if to.Addr().Is6() {
			wild = netip.IPv6Unspecified()
		}
		c, err := ns.ListenUDP(ListenOptions{Addr: netip.AddrPortFrom(wild, 0)})
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.WriteToUDPAddrPort([]byte("question"), to)
		b := make([]byte, 64)
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || string(b[:n]) != "question" || from.Addr().Unmap() != to.Addr() || from.Port() != to.Port() {
			t.Errorf("%s: %q from %v, %v", at, b[:n], from, err)
		}
		c.Close()
		p.Close()
		if err := p.Reply(nil, to, to); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reply after Close: %v", err)
		}
	}
}

func TestCandidatePortsStayOutOfEphemeralRange(t *testing.T) {
	lower := 0
	for i := range 100_000 {
		p := candidate(i % allAttempts)
		switch {
		case p >= upperFirst:
		case p >= lowerFirst && p <= lowerLast:
			lower++
			if i%allAttempts < upperAttempts {
				t.Fatalf("attempt %d tried %d: the upper range comes first", i%allAttempts, p)
			}
		default:
			t.Fatalf("port %d is one that clients draw", p)
		}
	}
	if lower == 0 {
		t.Error("the lower range is never tried")
	}
}
