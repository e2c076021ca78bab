package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Socket calls socket(2) inside the namespace; flags for close-on-exec and
// non-blocking are added. The descriptor is the caller's.
func (n *NS) Socket(domain, typ, proto int) (int, error) {
	fd := -1
	err := n.Do(func() (err error) {
		fd, err = unix.Socket(domain, typ|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, proto)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		return nil
	})
	if err != nil && fd >= 0 {
		unix.Close(fd)
		fd = -1
	}
	return fd, err
}

func domainOf(a netip.Addr) int {
	if a.Unmap().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Addr: ip.As4(), Port: int(a.Port())}
	}
	sa := &unix.SockaddrInet6{Addr: ip.As16(), Port: int(a.Port())}
	if z := ip.Zone(); z != "" {
		_, _ = fmt.Sscanf(z, "%d", &sa.ZoneId) // not a number: no zone
	}
	return sa
}

// setup collects option calls: after the first failure the rest are skipped.
type setup struct {
	fd  int
	err error
}

func (s *setup) set(level, opt, value int, what string) {
	if s.err != nil {
		return
	}
	if err := unix.SetsockoptInt(s.fd, level, opt, value); err != nil {
		s.err = fmt.Errorf("set %s: %w%s", what, err, hint(err))
	}
}

func (s *setup) family(domain int) {
	if domain == unix.AF_INET6 {
		s.set(unix.SOL_IPV6, unix.IPV6_V6ONLY, 1, "IPV6_V6ONLY")
	}
}

func (s *setup) transparent(domain int) {
	if domain == unix.AF_INET6 {
		s.set(unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1, "IPV6_TRANSPARENT")
		return
	}
	s.set(unix.SOL_IP, unix.IP_TRANSPARENT, 1, "IP_TRANSPARENT")
}

func (s *setup) mark(m uint32) {
	if m != 0 {
		s.set(unix.SOL_SOCKET, unix.SO_MARK, int(m), "SO_MARK")
	}
}

func hint(err error) string {
	if errors.Is(err, unix.EPERM) {
		return " (needs CAP_NET_ADMIN)"
	}
	return ""
}
