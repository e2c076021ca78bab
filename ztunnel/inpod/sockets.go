package inpod

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/ztunnel/dns"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// Ports of the listeners in a pod's network namespace.
const (
	PortOutbound  = 15001
	PortPlaintext = 15006
	PortHBONE     = 15008
	PortDNS       = 15053
)

// Marks of ztunnel's sockets. They route and prove nothing.
const (
	markOut = 0x539 // leaves the pod
	markApp = 0x53a // to the application, over loopback
)

// Listeners of one pod.
type Listeners struct {
	Outbound, Plaintext, HBONE []net.Listener
	DNS                        []PacketListener
}

// PacketListener is a DNS socket.
type PacketListener interface {
	dns.Transport
	Close() error
}

// Close closes all of them.
func (l *Listeners) Close() {
	for _, group := range [][]net.Listener{l.Outbound, l.Plaintext, l.HBONE} {
		for _, x := range group {
			x.Close()
		}
	}
	for _, x := range l.DNS {
		x.Close()
	}
}

// Sockets makes the sockets of one pod.
type Sockets interface {
	pod.Network
	// Listen opens the pod's listeners; the caller closes them.
	Listen() (*Listeners, error)
	// DialDNS connects to a name server, over udp or tcp.
	DialDNS(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error)
	// Same reports whether both stand for the same network namespace.
	Same(other Sockets) bool
	Close() error
}

// namespace makes sockets in a network namespace of the kernel.
type namespace struct{ ns *netns.NS }

// KernelSockets makes sockets in the namespace that f stands for; f stays the caller's.
func KernelSockets(f *os.File) (Sockets, error) {
	ns, err := netns.FromFile(f)
	if err != nil {
		return nil, err
	}
	return namespace{ns}, nil
}

func (n namespace) Close() error { return n.ns.Close() }

// Space is what the direct path has to know of a pod.
func (n namespace) Space() pod.Space { return n.ns }

func (n namespace) Same(other Sockets) bool {
	o, ok := other.(namespace)
	return ok && o.ns.Cookie() == n.ns.Cookie()
}

func (n namespace) Dial(ctx context.Context, dst netip.AddrPort) (relay.Conn, error) {
	return n.dial(ctx, dst, netns.DialOptions{Mark: markOut})
}

func (n namespace) DialApp(ctx context.Context, client netip.Addr, dst netip.AddrPort) (relay.Conn, error) {
	if !client.IsValid() || client.Is4() != dst.Addr().Is4() || client == dst.Addr() {
		// From the pod to itself: no redirection is in the way, and answers to a socket that is bound to lo
		// would not be found, since the kernel takes them to come by eth0.
		return n.dial(ctx, dst, netns.DialOptions{Mark: markApp})
	}
	return n.dial(ctx, dst, netns.DialOptions{Mark: markApp, Interface: 1, Source: client})
}

func (n namespace) dial(ctx context.Context, dst netip.AddrPort, o netns.DialOptions) (relay.Conn, error) {
	c, err := n.ns.DialTCP(ctx, dst, o)
	if err != nil {
		return nil, err // not c: a nil *TCPConn in an interface is no nil
	}
	return c, nil
}

func (n namespace) DialDNS(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	if network == "tcp" {
		return n.Dial(ctx, to)
	}
	any := netip.IPv4Unspecified()
	if to.Addr().Is6() {
		any = netip.IPv6Unspecified()
	}
	u, err := n.ns.ListenUDP(netns.ListenOptions{Addr: netip.AddrPortFrom(any, 0), Mark: markOut})
	if err != nil {
		return nil, err
	}
	return &connected{UDPConn: u, to: to}, nil
}

// connected makes a connected socket of an unconnected one: datagrams of others are skipped.
type connected struct {
	*net.UDPConn
	to netip.AddrPort
}

func (c *connected) Write(b []byte) (int, error) { return c.WriteToUDPAddrPort(b, c.to) }

func (c *connected) Read(b []byte) (int, error) {
	for {
		n, from, err := c.ReadFromUDPAddrPort(b)
		if err != nil || from.Port() == c.to.Port() && from.Addr().Unmap() == c.to.Addr() {
			return n, err
		}
	}
}

// Listen opens 15001, 15006, 15008 and 15053 on both families. A namespace without IPv6 gets IPv4 only.
func (n namespace) Listen() (*Listeners, error) {
	l := new(Listeners)
	err := n.listenOn(l, netip.MustParseAddr("127.0.0.1"))
	if err == nil {
		err = n.listenOn(l, netip.IPv6Loopback())
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			err = nil
		}
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

func (n namespace) listenOn(l *Listeners, a netip.Addr) error {
	// Two versions of ztunnel overlap while one replaces the other, hence ReusePort.
	tcp := func(port uint16, mark uint32, group *[]net.Listener) error {
		x, err := n.ns.ListenTCP(netns.ListenOptions{Addr: netip.AddrPortFrom(a, port), Transparent: true, Mark: mark, ReusePort: true})
		if err != nil {
			return listenError(port, err)
		}
		*group = append(*group, x)
		return nil
	}
	if err := tcp(PortOutbound, 0, &l.Outbound); err != nil {
		return err
	}
	if err := tcp(PortPlaintext, markOut, &l.Plaintext); err != nil {
		return err
	}
	if err := tcp(PortHBONE, markOut, &l.HBONE); err != nil {
		return err
	}
	u, err := n.ns.ListenPacket(netns.ListenOptions{Addr: netip.AddrPortFrom(a, PortDNS), ReusePort: true})
	if err != nil {
		return listenError(PortDNS, err)
	}
	l.DNS = append(l.DNS, u)
	return nil
}

func listenError(port uint16, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w (port %d of the pod is taken: by its application, or by a connection that was given it as source port)", err, port)
	}
	return err
}
