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
	stateListen      = 10 // TCP_LISTEN
	stateClose       = 7  // TCP_CLOSE: a bound, unconnected UDP socket
	diagMsgLen       = 72 // struct inet_diag_msg
)

// boundSockets lists the listening TCP or unconnected UDP sockets of the namespace.
func (n *NS) boundSockets(proto int) ([]socketInfo, error) {
	fd := -1
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_INET_DIAG)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w (kernel without CONFIG_INET_DIAG?)", err)
	}
	defer unix.Close(fd)
	// A lost answer must become an error, not a hang.
	tv := unix.Timeval{Sec: 5}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return nil, fmt.Errorf("sock_diag timeout: %w", err)
	}
	var all []socketInfo
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		some, err := dump(fd, family, proto)
		if err != nil {
			return nil, fmt.Errorf("list sockets by sock_diag: %w", err)
		}
		all = append(all, some...)
	}
	return all, nil
}

// dump sends one SOCK_DIAG_BY_FAMILY request and reads the answer to its end.
func dump(fd int, family byte, proto int) ([]socketInfo, error) {
	ne := binary.NativeEndian
	req := make([]byte, 72) // nlmsghdr + struct inet_diag_req_v2
	ne.PutUint32(req, 72)
	ne.PutUint16(req[4:], sockDiagByFamily)
	ne.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	req[16], req[17] = family, byte(proto)
	states := uint32(1 << stateListen)
	if proto == unix.IPPROTO_UDP {
		states = 1 << stateClose
	}
	ne.PutUint32(req[20:], states)
	if err := unix.Sendto(fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	var out []socketInfo
	buf := make([]byte, 1<<16)
	for {
		size, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return nil, err
		}
		for m := buf[:size]; len(m) >= unix.NLMSG_HDRLEN; {
			l := int(ne.Uint32(m))
			if l < unix.NLMSG_HDRLEN || l > len(m) {
				return nil, errors.New("truncated answer")
			}
			switch ne.Uint16(m[4:]) {
			case unix.NLMSG_DONE:
				return out, nil
			case unix.NLMSG_ERROR:
				if l < unix.NLMSG_HDRLEN+4 {
					return nil, errors.New("truncated error")
				}
				return nil, unix.Errno(-int32(ne.Uint32(m[16:])))
			}
			if body := m[16:l]; len(body) >= diagMsgLen {
				out = append(out, parseDiag(body, proto))
			}
			m = m[min(len(m), (l+3)&^3):]
		}
	}
}

// parseDiag reads family, port, address and inode of struct inet_diag_msg.
func parseDiag(b []byte, proto int) socketInfo {
	port := binary.BigEndian.Uint16(b[4:])
	var a netip.Addr
	if b[0] == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(b[8:12]))
	} else {
		a = netip.AddrFrom16([16]byte(b[8:24]))
	}
	return socketInfo{
		proto: proto,
		addr:  netip.AddrPortFrom(a, port),
		inode: binary.NativeEndian.Uint32(b[68:]),
	}
}
