package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// maxReplySockets bounds the sockets that a PacketConn keeps for answering:
// one for each server address that the pod asks, which are a handful.
const maxReplySockets = 32

// PacketConn receives steered datagrams together with their original
// destination and answers from there, as a resolver demands of its server.
type PacketConn struct {
	ns *NS
	*net.UDPConn

	mu      sync.Mutex // guards replies
	replies map[netip.AddrPort]*net.UDPConn
	closed  bool
}

// ListenPacket makes a UDP socket for steered datagrams; Transparent is implied.
func (n *NS) ListenPacket(o ListenOptions) (*PacketConn, error) {
	o.Transparent = true
	u, err := n.ListenUDP(o)
	if err != nil {
		return nil, err
	}
	raw, err := u.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			s := setup{fd: int(fd)}
			if domainOf(o.Addr.Addr()) == unix.AF_INET6 {
				s.set(unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, 1, "IPV6_RECVORIGDSTADDR")
			} else {
				s.set(unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1, "IP_RECVORIGDSTADDR")
			}
			err = s.err
		})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		u.Close()
		return nil, fmt.Errorf("listen udp %v: %w", o.Addr, err)
	}
	return &PacketConn{ns: n, UDPConn: u, replies: map[netip.AddrPort]*net.UDPConn{}}, nil
}

// Receive reads one datagram: who sent it, and whom it was meant for.
func (p *PacketConn) Receive(b []byte) (size int, from, to netip.AddrPort, err error) {
	var oob [128]byte
	size, oobn, _, from, err := p.ReadMsgUDPAddrPort(b, oob[:])
	if err != nil {
		return 0, from, to, err
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return 0, from, to, fmt.Errorf("original destination of datagram: %w", err)
	}
	for i := range msgs {
		sa, err := unix.ParseOrigDstAddr(&msgs[i])
		if err != nil {
			continue
		}
		switch sa := sa.(type) {
		case *unix.SockaddrInet4:
			to = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
		case *unix.SockaddrInet6:
			to = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
		}
	}
	return size, from, to, nil
}

// Reply sends one datagram to the given client as if the server at from had.
func (p *PacketConn) Reply(b []byte, to, from netip.AddrPort) error {
	c, err := p.replySocket(from)
	if err != nil {
		return err
	}
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		return fmt.Errorf("reply to %v as %v: %w", to, from, err)
	}
	return nil
}

func (p *PacketConn) replySocket(from netip.AddrPort) (*net.UDPConn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, net.ErrClosed
	}
	if c := p.replies[from]; c != nil {
		return c, nil
	}
	if len(p.replies) >= maxReplySockets {
		for a, c := range p.replies {
			c.Close()
			delete(p.replies, a)
			break
		}
	}
	c, err := p.ns.ListenUDP(ListenOptions{Addr: from, Transparent: true, ReusePort: true})
	if err != nil {
		return nil, fmt.Errorf("socket to reply as %v: %w", from, err)
	}
	p.replies[from] = c
	return c, nil
}

// Close closes the socket and those kept for replies.
func (p *PacketConn) Close() error {
	p.mu.Lock()
	p.closed = true
	for _, c := range p.replies {
		c.Close()
	}
	p.replies = nil
	p.mu.Unlock()
	return p.UDPConn.Close()
}
