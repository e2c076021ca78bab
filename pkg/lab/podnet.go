package lab

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// podNet is one pod's place in the network.
type podNet struct {
	netns  string     // its namespace
	nodeNS string     // its node's namespace
	ip4    netip.Addr // on eth0
	ip6    netip.Addr
	node   nodeNet
}

// hostLink names the host's end of a pod's veth; an interface name holds 15 bytes.
func hostLink(podNS string) string {
	sum := sha256.Sum256([]byte(podNS))
	return "veth" + hex.EncodeToString(sum[:4])
}

// raise makes the pod's namespace and joins it to its node the way a point-to-point CNI plugin does:
// a host address on eth0, the gateway as a link route, the default route by the gateway.
func (p podNet) raise() error {
	if err := createNetNS(p.netns); err != nil {
		return err
	}
	if err := p.plug(); err != nil {
		_ = p.remove()
		return fmt.Errorf("network of pod %s: %w", p.netns, err)
	}
	return nil
}

func (p podNet) plug() error {
	err := InNetNS(p.netns, func() error {
		return errors.Join(sysctl("ipv6/conf/default/accept_dad", "0"), sysctl("ipv6/conf/default/accept_ra", "0"))
	})
	if err != nil {
		return err
	}
	node, err := handleAt(p.nodeNS)
	if err != nil {
		return err
	}
	defer node.Close()
	pod, err := handleAt(p.netns)
	if err != nil {
		return err
	}
	defer pod.Close()
	name := hostLink(p.netns)
	if err := addVeth(node, name, p.netns, "eth0"); err != nil {
		return err
	}
	return errors.Join(p.plugNode(node, name), p.plugPod(pod))
}

func (p podNet) plugNode(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	if err := h.LinkSetUp(link); err != nil {
		return err
	}
	if err := errors.Join(addAddr(h, link, host(p.node.gateway4)), addAddr(h, link, host(p.node.gateway6))); err != nil {
		return err
	}
	return errors.Join(
		addRoute(h, link, host(p.ip4), netip.Addr{}, p.node.gateway4),
		addRoute(h, link, host(p.ip6), netip.Addr{}, p.node.gateway6),
	)
}

func (p podNet) plugPod(h *netlink.Handle) error {
	for _, name := range []string{"lo", "eth0"} {
		link, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(link); err != nil {
			return err
		}
	}
	eth0, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := errors.Join(addAddr(h, eth0, host(p.ip4)), addAddr(h, eth0, host(p.ip6))); err != nil {
		return err
	}
	if err := errors.Join(
		addRoute(h, eth0, host(p.node.gateway4), netip.Addr{}, netip.Addr{}),
		addRoute(h, eth0, host(p.node.gateway6), netip.Addr{}, netip.Addr{}),
	); err != nil {
		return err
	}
	return errors.Join(
		addRoute(h, eth0, netip.PrefixFrom(netip.IPv4Unspecified(), 0), p.node.gateway4, netip.Addr{}),
		addRoute(h, eth0, netip.PrefixFrom(netip.IPv6Unspecified(), 0), p.node.gateway6, netip.Addr{}),
	)
}

// remove takes the veth away at once, so that the address is free even while someone still holds the
// namespace, and then the namespace. Parts that are not there are no error.
func (p podNet) remove() error {
	var errs []error
	if h, err := handleAt(p.nodeNS); err == nil {
		if link, err := h.LinkByName(hostLink(p.netns)); err == nil {
			errs = append(errs, h.LinkDel(link))
		}
		h.Close()
	}
	return errors.Join(append(errs, deleteNetNS(p.netns))...)
}
