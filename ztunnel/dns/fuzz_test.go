package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// sink takes replies and checks that they can be read.
type sink struct{ t *testing.T }

func (sink) Receive([]byte) (int, netip.AddrPort, netip.AddrPort, error) {
	panic("not read from")
}

func (s sink) Reply(b []byte, _, _ netip.AddrPort) error {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil || !m.Response || len(b) > maxUDP {
		s.t.Errorf("reply of %d bytes: %v", len(b), err)
	}
	return nil
}

// FuzzPacket: whatever a pod sends, nothing crashes and every reply can be read.
func FuzzPacket(f *testing.F) {
	for _, q := range []*dns.Msg{
		new(dns.Msg).SetQuestion("cart.", dns.TypeA), new(dns.Msg).SetQuestion("_http._tcp.db.shop.svc.cluster.local.", dns.TypeSRV),
		new(dns.Msg).SetQuestion("db.", dns.TypeAAAA).SetEdns0(4096, true), new(dns.Msg).SetQuestion("x.shop.svc.cluster.local.", dns.TypeANY),
	} {
		b, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dial := func(context.Context, string, netip.AddrPort) (net.Conn, error) { return nil, errors.New("unreachable") }
	s := NewServer(ServerOptions{Zone: &Zone{Names: shop(), ClusterDomain: "cluster.local", Authoritative: true}, Namespace: "shop", Dial: dial})
	client, asked := netip.MustParseAddrPort("10.0.0.1:4000"), netip.MustParseAddrPort("10.96.0.10:53")
	f.Fuzz(func(t *testing.T, b []byte) {
		s.packet(t.Context(), sink{t}, b, client, asked)
		s.wg.Wait()
	})
}
