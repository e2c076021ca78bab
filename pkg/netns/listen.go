package netns

import (
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// ListenOptions describe one listening socket.
type ListenOptions struct {
	Addr        netip.AddrPort // where to bind; its family is the socket's only family
	Transparent bool           // IP_TRANSPARENT: replies may carry the original destination as source
	Mark        uint32         // SO_MARK, inherited by accepted connections; 0 = none
	ReusePort   bool           // SO_REUSEPORT: a successor may bind the same address before this one closes
	Backlog     int            // TCP accept queue; default 4096, bounded by net.core.somaxconn
}

// ListenTCP makes a TCP listener inside the namespace.
func (n *NS) ListenTCP(o ListenOptions) (*net.TCPListener, error) {
	f, err := n.bound(unix.SOCK_STREAM, o)
	if err != nil {
		return nil, fmt.Errorf("listen tcp %v: %w", o.Addr, err)
	}
	defer f.Close()
	if o.Backlog <= 0 {
		o.Backlog = 4096
	}
	if err := unix.Listen(int(f.Fd()), o.Backlog); err != nil {
		return nil, fmt.Errorf("listen tcp %v: %w", o.Addr, err)
	}
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen tcp %v: %w", o.Addr, err)
	}
	return l.(*net.TCPListener), nil
}

// ListenUDP makes a bound UDP socket inside the namespace. To answer steered
// datagrams from their original destination use ListenPacket.
func (n *NS) ListenUDP(o ListenOptions) (*net.UDPConn, error) {
	f, err := n.bound(unix.SOCK_DGRAM, o)
	if err != nil {
		return nil, fmt.Errorf("listen udp %v: %w", o.Addr, err)
	}
	defer f.Close()
	c, err := net.FilePacketConn(f)
	if err != nil {
		return nil, fmt.Errorf("listen udp %v: %w", o.Addr, err)
	}
	return c.(*net.UDPConn), nil
}

func (n *NS) bound(typ int, o ListenOptions) (*os.File, error) {
	domain, proto := domainOf(o.Addr.Addr()), unix.IPPROTO_TCP
	if typ == unix.SOCK_DGRAM {
		proto = unix.IPPROTO_UDP
	}
	fd, err := n.Socket(domain, typ, proto)
	if err != nil {
		return nil, err
	}
	s := setup{fd: fd}
	s.family(domain)
	if typ == unix.SOCK_STREAM {
		s.set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1, "SO_REUSEADDR")
	}
	if o.ReusePort {
		s.set(unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, "SO_REUSEPORT")
	}
	if o.Transparent {
		s.transparent(domain)
	}
	s.mark(o.Mark)
	if s.err == nil {
		s.err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(o.Addr)))
	}
	if s.err != nil {
		unix.Close(fd)
		return nil, s.err
	}
	return os.NewFile(uintptr(fd), "listener"), nil
}

// OriginalDst is where a steered connection was bound for: sk_lookup hands it
// over untouched, so that is the accepted socket's own local address.
func OriginalDst(c net.Conn) netip.AddrPort { return addrPort(c.LocalAddr()) }

// Source is the peer's address of a steered connection.
func Source(c net.Conn) netip.AddrPort { return addrPort(c.RemoteAddr()) }

func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := a.(type) {
	case *net.TCPAddr:
		ap = a.AddrPort()
	case *net.UDPAddr:
		ap = a.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
