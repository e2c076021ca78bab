package bpf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/netns"
)

// roleZtunnel serves the pods whose namespaces are its files 3…: MESH-ADDRESSES.
// To a mesh address it sends a line "DST SOURCE" to port 15008 instead of HBONE.
func roleZtunnel(args []string) error {
	mesh := map[string]bool{}
	for _, a := range strings.Split(args[0], ",") {
		mesh[a] = true
	}
	for i := range len(strings.Split(args[0], ",")) / 2 {
		ns, err := netns.FromFile(os.NewFile(uintptr(3+i), "pod"))
		if err != nil {
			return err
		}
		for _, ip := range []string{"127.0.0.1", "::1"} {
			if err := serve(ns, netip.MustParseAddr(ip), mesh); err != nil {
				return err
			}
		}
	}
	fmt.Println("ready")
	select {}
}

func serve(ns *netns.NS, at netip.Addr, mesh map[string]bool) error {
	for port, handle := range map[uint16]func(*netns.NS, net.Conn, map[string]bool) error{
		PortOutbound: outbound, PortInbound: plaintext, PortHBONE: tunnelled} {
		o := netns.ListenOptions{Addr: netip.AddrPortFrom(at, port), Transparent: true, ReusePort: true}
		if port != PortOutbound {
			o.Mark = MarkZtunnel
		}
		l, err := ns.ListenTCP(o)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.AcceptTCP()
				if err != nil {
					return
				}
				go func() {
					if err := handle(ns, c, mesh); err != nil {
						c.SetLinger(0)
						fmt.Fprintln(os.Stderr, "ztunnel:", err)
					}
					c.Close()
				}()
			}
		}()
	}
	u, err := ns.ListenPacket(netns.ListenOptions{Addr: netip.AddrPortFrom(at, PortDNS), ReusePort: true})
	if err != nil {
		return err
	}
	go func() {
		b := make([]byte, 512)
		for {
			n, from, to, err := u.Receive(b)
			if err != nil {
				return
			}
			if err := u.Reply(fmt.Appendf(nil, "answer to %s", b[:n]), from, to); err != nil {
				fmt.Fprintln(os.Stderr, "ztunnel:", err)
			}
		}
	}()
	return nil
}

func outbound(ns *netns.NS, c net.Conn, mesh map[string]bool) error {
	dst, src := netns.OriginalDst(c), netns.Source(c)
	to, tunnel := dst, mesh[dst.Addr().String()]
	if tunnel {
		to = netip.AddrPortFrom(dst.Addr(), PortHBONE)
	}
	u, err := ns.DialTCP(context.Background(), to, netns.DialOptions{Mark: MarkZtunnel, Timeout: 3 * time.Second})
	if err != nil {
		return err
	}
	defer u.Close()
	if tunnel {
		fmt.Fprintf(u, "%v %v\n", dst, src.Addr())
	}
	return both(c, u, u)
}

func tunnelled(ns *netns.NS, c net.Conn, _ map[string]bool) error {
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	dst, src, _ := strings.Cut(strings.TrimSpace(line), " ")
	return application(ns, c, r, netip.MustParseAddrPort(dst), netip.MustParseAddr(src))
}

func plaintext(ns *netns.NS, c net.Conn, _ map[string]bool) error {
	return application(ns, c, c, netns.OriginalDst(c), netns.Source(c).Addr())
}

func application(ns *netns.NS, c net.Conn, r io.Reader, dst netip.AddrPort, src netip.Addr) error {
	u, err := ns.DialTCP(context.Background(), dst, netns.DialOptions{
		Mark: MarkApplication, Interface: 1, Source: src, Timeout: 3 * time.Second})
	if err != nil {
		return err
	}
	defer u.Close()
	return both(u, c, r)
}

func both(a, b net.Conn, fromB io.Reader) error {
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(b, a)
		b.(*net.TCPConn).CloseWrite()
		done <- err
	}()
	_, err := io.Copy(a, fromB)
	a.(*net.TCPConn).CloseWrite()
	return errors.Join(err, <-done)
}

// ztunnel starts the stand-in for pods p1 and p2.
func (l *lab) ztunnel() *helper {
	l.t.Helper()
	var files []*os.File
	var addrs []string
	for _, name := range []string{"p1", "p2"} {
		p := l.pods[name]
		f, err := p.ns.File()
		must(l.t, err)
		defer f.Close()
		files = append(files, f)
		addrs = append(addrs, p.ip4.String(), p.ip6.String())
	}
	return l.start("ztunnel", l.node, "ztunnel", files, strings.Join(addrs, ","))
}
