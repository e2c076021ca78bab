package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// raiseNodes makes the nodes' namespaces, the links between them and the routes to each other's pods.
func raiseNodes(l Layout) error {
	for _, node := range l.NodeNames() {
		if err := raiseNode(l, node); err != nil {
			return fmt.Errorf("node %s: %w", node, err)
		}
	}
	for _, w := range l.wires() {
		if err := raiseWire(l, w); err != nil {
			return fmt.Errorf("link %s to %s: %w", w.a, w.b, err)
		}
	}
	return nil
}

func raiseNode(l Layout, node string) error {
	if err := createNetNS(l.NodeNS(node)); err != nil {
		return err
	}
	err := InNetNS(l.NodeNS(node), func() error {
		return errors.Join(
			sysctl("ipv4/ip_forward", "1"), sysctl("ipv6/conf/all/forwarding", "1"),
			sysctl("ipv4/conf/all/rp_filter", "0"), sysctl("ipv4/conf/default/rp_filter", "0"),
			sysctl("ipv6/conf/default/accept_dad", "0"), sysctl("ipv6/conf/default/accept_ra", "0"),
		)
	})
	if err != nil {
		return err
	}
	h, err := handleAt(l.NodeNS(node))
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	n, err := l.nodeNet(node)
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(lo); err != nil {
		return err
	}
	for _, a := range []netip.Addr{n.ip4, n.ip6, DNSAddress} {
		if err := addAddr(h, lo, host(a)); err != nil {
			return err
		}
	}
	// Virtual addresses need some route before nftables can rewrite what the node itself sends to them.
	return errors.Join(addRoute(h, lo, serviceCIDR4, netip.Addr{}, n.ip4), addRoute(h, lo, serviceCIDR6, netip.Addr{}, n.ip6))
}

func raiseWire(l Layout, w wire) error {
	a, err := handleAt(l.NodeNS(w.a))
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := handleAt(l.NodeNS(w.b))
	if err != nil {
		return err
	}
	defer b.Close()
	if err := addVeth(a, WireName(w.b), l.NodeNS(w.b), WireName(w.a)); err != nil {
		return err
	}
	if err := plugWire(l, a, WireName(w.b), w.b, w.a4, w.a6, w.b4.Addr(), w.b6.Addr()); err != nil {
		return err
	}
	return plugWire(l, b, WireName(w.a), w.a, w.b4, w.b6, w.a4.Addr(), w.a6.Addr())
}

// plugWire sets one end of a link up, with routes to the other node and its pods.
func plugWire(l Layout, h *netlink.Handle, ifname, peer string, own4, own6 netip.Prefix, via4, via6 netip.Addr) error {
	link, err := h.LinkByName(ifname)
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	if err := errors.Join(addAddr(h, link, own4), addAddr(h, link, own6)); err != nil {
		return err
	}
	n, err := l.nodeNet(peer)
	if err != nil {
		return err
	}
	return errors.Join(
		addRoute(h, link, n.pods4, via4, netip.Addr{}), addRoute(h, link, host(n.ip4), via4, netip.Addr{}),
		addRoute(h, link, n.pods6, via6, netip.Addr{}), addRoute(h, link, host(n.ip6), via6, netip.Addr{}),
	)
}

// handleAt opens netlink inside a named namespace.
func handleAt(name string) (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(filepath.Join(netnsDir, name))
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink in %s: %w", name, err)
	}
	return h, nil
}

// addVeth makes a pair: one end where the handle is, its peer in another namespace.
func addVeth(h *netlink.Handle, name, peerNS, peer string) error {
	ns, err := os.Open(filepath.Join(netnsDir, peerNS))
	if err != nil {
		return err
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNamespace: netlink.NsFd(ns.Fd())}
	if err := h.LinkAdd(veth); err != nil {
		return fmt.Errorf("make veth %s: %w", name, err)
	}
	return nil
}

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

func addAddr(h *netlink.Handle, link netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := h.AddrAdd(link, a); err != nil {
		return fmt.Errorf("address %s on %s: %w", p, link.Attrs().Name, err)
	}
	return nil
}

// addRoute adds a route by a link; via and src may be the zero Addr.
func addRoute(h *netlink.Handle, link netlink.Link, dst netip.Prefix, via, src netip.Addr) error {
	r := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(dst), Scope: unix.RT_SCOPE_UNIVERSE}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	} else if dst.Addr().Is4() {
		r.Scope = unix.RT_SCOPE_LINK
	}
	if src.IsValid() {
		r.Src = src.AsSlice()
	}
	if err := h.RouteAdd(r); err != nil {
		return fmt.Errorf("route %s via %s dev %s: %w", dst, via, link.Attrs().Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
