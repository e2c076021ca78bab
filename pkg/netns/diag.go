package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// socketInfo is what sock_diag says of one listening or unconnected socket.
type socketInfo struct {
	proto int
	addr  netip.AddrPort
	inode uint32
}

const (
	sockDiagByFamily = 20
	sockDestroy      = 21
	diagMsgLen       = 72 // struct inet_diag_msg
	diagIDLen        = 48 // struct inet_diag_sockid inside it

	// Sets of TCP states by number.
	statesListen    = 1 << 10                                                        // TCP_LISTEN
	statesUnused    = 1 << 7                                                         // TCP_CLOSE: also a bound, unconnected UDP socket
	statesConnected = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 | 1<<12 // all but TIME_WAIT, CLOSE, LISTEN, NEW_SYN_RECV
)

// boundSockets lists the listening TCP or unconnected UDP sockets.
func (n *NS) boundSockets(proto int) ([]socketInfo, error) {
	fd, err := n.openDiag()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	states := uint32(statesListen)
	if proto == unix.IPPROTO_UDP {
		states = statesUnused
	}
	var all []socketInfo
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		err := dump(fd, family, proto, states, func(b []byte) {
			local, _ := endpoints(b)
			all = append(all, socketInfo{proto: proto, addr: local, inode: binary.NativeEndian.Uint32(b[68:])})
		})
		if err != nil {
			return nil, fmt.Errorf("list sockets by sock_diag: %w", err)
		}
	}
	return all, nil
}

func (n *NS) openDiag() (int, error) {
	fd := -1
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("open sock_diag: %w (kernel without CONFIG_INET_DIAG?)", err)
	}
	// A lost answer must become an error, not a hang.
	tv := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("sock_diag timeout: %w", err)
	}
	return fd, nil
}

// request builds nlmsghdr and struct inet_diag_req_v2 with an empty socket id.
func request(kind, flags uint16, family byte, proto int, states uint32) []byte {
	ne := binary.NativeEndian
	req := make([]byte, 72)
	ne.PutUint32(req, 72)
	ne.PutUint16(req[4:], kind)
	ne.PutUint16(req[6:], flags)
	req[16], req[17] = family, byte(proto)
	ne.PutUint32(req[20:], states)
	return req
}

// dump calls each with every struct inet_diag_msg of the sockets asked for.
func dump(fd int, family byte, proto int, states uint32, each func([]byte)) error {
	req := request(sockDiagByFamily, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, family, proto, states)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return answers(fd, each)
}

// answers reads until the kernel says that it is done, or an error or
// acknowledgement ends it.
func answers(fd int, each func([]byte)) error {
	ne := binary.NativeEndian
	buf := make([]byte, 1<<16)
	for {
		size, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return err
		}
		for m := buf[:size]; len(m) >= unix.NLMSG_HDRLEN; {
			l := int(ne.Uint32(m))
			if l < unix.NLMSG_HDRLEN || l > len(m) {
				return errors.New("truncated answer")
			}
			switch ne.Uint16(m[4:]) {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if l < unix.NLMSG_HDRLEN+4 {
					return errors.New("truncated error")
				}
				if code := -int32(ne.Uint32(m[16:])); code != 0 {
					return unix.Errno(code)
				}
				return nil
			}
			if body := m[unix.NLMSG_HDRLEN:l]; len(body) >= diagMsgLen {
				each(body)
			}
			m = m[min(len(m), (l+3)&^3):]
		}
	}
}

// endpoints reads both addresses of struct inet_diag_msg; IPv4 ones that an
// IPv6 socket uses come out as IPv4, except for listeners' wildcards.
func endpoints(b []byte) (local, remote netip.AddrPort) {
	at := func(addr []byte, port []byte) netip.AddrPort {
		var a netip.Addr
		if b[0] == unix.AF_INET {
			a = netip.AddrFrom4([4]byte(addr[:4]))
		} else {
			a = netip.AddrFrom16([16]byte(addr[:16])).Unmap()
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
	}
	return at(b[8:], b[4:]), at(b[24:], b[6:])
}

// DestroyTCP aborts the namespace's TCP connections for which match returns
// true, as SOCK_DESTROY does: the application gets ECONNABORTED, the peer an
// RST. Listeners and TIME_WAIT are left alone. It returns how many it ended.
func (n *NS) DestroyTCP(match func(local, remote netip.AddrPort) bool) (int, error) {
	return n.destroyTCP(func(b []byte) bool { return match(endpoints(b)) })
}

// DestroyMarked does so for those alone whose sockets bear a mark.
func (n *NS) DestroyMarked(mark uint32, match func(local, remote netip.AddrPort) bool) (int, error) {
	return n.destroyTCP(func(b []byte) bool {
		m, ok := markOf(b)
		return ok && m == mark && match(endpoints(b))
	})
}

func (n *NS) destroyTCP(match func(msg []byte) bool) (int, error) {
	fd, err := n.openDiag()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	ended := 0
	var errs []error
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		var ids [][diagIDLen]byte
		err := dump(fd, family, unix.IPPROTO_TCP, statesConnected, func(b []byte) {
			if match(b) {
				ids = append(ids, [diagIDLen]byte(b[4:]))
			}
		})
		errs = append(errs, err)
		for _, id := range ids {
			if err := destroy(fd, family, id); err == nil {
				ended++
			} else if !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("end connection: %w (kernel without CONFIG_INET_DIAG_DESTROY?)", err))
				return ended, errors.Join(errs...)
			}
		}
	}
	return ended, errors.Join(errs...)
}

// DestroyConn aborts one TCP connection as DestroyTCP does; that it is gone is no error. The kernel looks a socket up as it
// does for a packet, and where there is no such connection it finds a listener: so the connection is asked for first, and
// ended by its cookie.
func (n *NS) DestroyConn(local, remote netip.AddrPort) error {
	fd, err := n.openDiag()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, family := range familiesOf(local.Addr()) {
		var id [diagIDLen]byte
		if id, err = connID(fd, family, local, remote); err == nil {
			err = destroy(fd, family, id)
		}
		if err == nil || !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end connection: %w (kernel without CONFIG_INET_DIAG_DESTROY?)", err)
	}
	return nil
}

// connID is the id of a connection with its cookie, or ENOENT.
func connID(fd int, family byte, local, remote netip.AddrPort) (id [diagIDLen]byte, err error) {
	req := request(sockDiagByFamily, unix.NLM_F_REQUEST|unix.NLM_F_ACK, family, unix.IPPROTO_TCP, ^uint32(0))
	asked := socketID(family, local, remote)
	copy(req[24:], asked[:])
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return id, err
	}
	found := false
	err = answers(fd, func(b []byte) {
		if l, r := endpoints(b); l == plain(local) && r == plain(remote) {
			id, found = [diagIDLen]byte(b[4:]), true
		}
	})
	if err == nil && !found {
		err = unix.ENOENT // it is another's, or a listener's
	}
	return id, err
}

// plain is an address as endpoints gives it.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// familiesOf are those of sockets that can have an address: IPv6 sockets carry IPv4 too.
func familiesOf(a netip.Addr) []byte {
	if a.Unmap().Is4() {
		return []byte{unix.AF_INET, unix.AF_INET6}
	}
	return []byte{unix.AF_INET6}
}

// socketID is struct inet_diag_sockid of a connection, on any interface and without a cookie.
func socketID(family byte, local, remote netip.AddrPort) (id [diagIDLen]byte) {
	be := binary.BigEndian
	be.PutUint16(id[0:], local.Port())
	be.PutUint16(id[2:], remote.Port())
	if family == unix.AF_INET {
		l, r := local.Addr().Unmap().As4(), remote.Addr().Unmap().As4()
		copy(id[4:], l[:])
		copy(id[20:], r[:])
	} else {
		l, r := local.Addr().As16(), remote.Addr().As16()
		copy(id[4:], l[:])
		copy(id[20:], r[:])
	}
	for i := 40; i < diagIDLen; i++ {
		id[i] = 0xff // INET_DIAG_NOCOOKIE
	}
	return id
}

// Marked is a TCP connection whose socket bears a mark.
type Marked struct {
	Cookie        uint64 // of the socket
	Local, Remote netip.AddrPort
	// Acked and Received are bytes, as tcp_info counts them: a SYN and a FIN are one each.
	Acked, Received uint64
}

// ListMarked lists the namespace's TCP connections whose sockets bear a mark. Those that are being set up count.
func (n *NS) ListMarked(mark uint32) (out []Marked, err error) {
	fd, err := n.openDiag()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		req := request(sockDiagByFamily, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, family, unix.IPPROTO_TCP, statesConnected)
		req[18] = 1 << (attrInfo - 1)
		if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return nil, fmt.Errorf("list connections by sock_diag: %w", err)
		}
		err := answers(fd, func(b []byte) {
			if m, ok := marked(b, mark); ok {
				out = append(out, m)
			}
		})
		if err != nil {
			return nil, fmt.Errorf("list connections by sock_diag: %w", err)
		}
	}
	return out, nil
}

func marked(b []byte, mark uint32) (m Marked, ok bool) {
	ne := binary.NativeEndian
	attributes(b, func(kind uint16, value []byte) {
		switch {
		case kind == attrMark && len(value) >= 4:
			ok = ne.Uint32(value) == mark
		case kind == attrInfo && len(value) >= 136: // tcpi_bytes_acked, tcpi_bytes_received
			m.Acked, m.Received = ne.Uint64(value[120:]), ne.Uint64(value[128:])
		}
	})
	m.Local, m.Remote = endpoints(b)
	m.Cookie = uint64(ne.Uint32(b[44:])) | uint64(ne.Uint32(b[48:]))<<32
	return m, ok
}

// SocketCgroups adds the cgroups to ids that made the sockets of the namespace's TCP connections. They stay what they
// are when a socket is passed to a process of another cgroup, and when its own cgroup has been removed.
func (n *NS) SocketCgroups(ids map[uint64]bool) error {
	fd, err := n.openDiag()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		err := dump(fd, family, unix.IPPROTO_TCP, statesConnected, func(b []byte) {
			attributes(b, func(kind uint16, value []byte) {
				if kind == attrCgroup && len(value) >= 8 {
					ids[binary.NativeEndian.Uint64(value)] = true
				}
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Attributes that follow struct inet_diag_msg.
const (
	attrInfo   = 2  // INET_DIAG_INFO: struct tcp_info
	attrMark   = 15 // INET_DIAG_MARK, for whoever has CAP_NET_ADMIN
	attrCgroup = 21 // INET_DIAG_CGROUP_ID, always
)

func attributes(b []byte, each func(kind uint16, value []byte)) {
	ne := binary.NativeEndian
	for a := b[diagMsgLen:]; len(a) >= 4; {
		l := int(ne.Uint16(a))
		if l < 4 || l > len(a) {
			return
		}
		each(ne.Uint16(a[2:]), a[4:l])
		a = a[min(len(a), (l+3)&^3):]
	}
}

func markOf(b []byte) (mark uint32, ok bool) {
	attributes(b, func(kind uint16, value []byte) {
		if kind == attrMark && len(value) >= 4 {
			mark, ok = binary.NativeEndian.Uint32(value), true
		}
	})
	return mark, ok
}

func destroy(fd int, family byte, id [diagIDLen]byte) error {
	req := request(sockDestroy, unix.NLM_F_REQUEST|unix.NLM_F_ACK, family, unix.IPPROTO_TCP, ^uint32(0))
	copy(req[24:], id[:])
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	return answers(fd, func([]byte) {})
}
