package bpf

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// roleKinds: KIND DST EXTRA connects a socket of some kind, exchanges a line, and prints whom it is told that it
// talks to.
func roleKinds(args []string) error {
	to := netip.MustParseAddrPort(args[1])
	family, proto := unix.AF_INET, 0
	switch args[0] {
	case "mapped":
		family = unix.AF_INET6
	case "mptcp":
		proto = unix.IPPROTO_MPTCP
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, proto)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if args[0] == "bound" {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: netip.MustParseAddr(args[2]).As4()}); err != nil {
			return err
		}
	}
	if err := exchange(fd, family, to, args[0] == "fastopen"); err != nil {
		return err
	}
	if args[0] == "again" {
		// Dissolves the association, as connect(2) says.
		none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
		if _, _, no := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none)); no != 0 {
			return fmt.Errorf("dissolve: %w", no)
		}
		if err := exchange(fd, family, netip.MustParseAddrPort(args[2]), false); err != nil {
			return err
		}
	}
	sa, err := unix.Getpeername(fd)
	if err != nil {
		return err
	}
	switch p := sa.(type) {
	case *unix.SockaddrInet4:
		fmt.Println("ok", netip.AddrPortFrom(netip.AddrFrom4(p.Addr), uint16(p.Port)))
	case *unix.SockaddrInet6:
		fmt.Println("ok", netip.AddrPortFrom(netip.AddrFrom16(p.Addr).Unmap(), uint16(p.Port)))
	}
	return nil
}

func exchange(fd, family int, to netip.AddrPort, fastopen bool) error {
	var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	if family == unix.AF_INET6 {
		sa = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	if fastopen {
		if err := unix.Sendto(fd, []byte("hello\n"), unix.MSG_FASTOPEN, sa); err != nil {
			return fmt.Errorf("send with the SYN: %w", err)
		}
	} else {
		if err := unix.Connect(fd, sa); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		if _, err := unix.Write(fd, []byte("hello\n")); err != nil {
			return err
		}
	}
	n, err := unix.Read(fd, make([]byte, 256))
	if err == nil && n == 0 {
		err = fmt.Errorf("no answer")
	}
	return err
}
