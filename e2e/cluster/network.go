package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// buildBridge joins the machine to the cluster.
func (l layout) buildBridge() error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: l.bridge()}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("bridge %s: %w", l.bridge(), err)
	}
	addrs := []*netlink.Addr{address(l.hostIP() + "/24")}
	if l.dual {
		addrs = append(addrs, address(l.hostIP6()+"/64"))
	}
	for _, a := range addrs {
		if err := netlink.AddrAdd(br, a); err != nil {
			return fmt.Errorf("address %s of bridge %s: %w", a, l.bridge(), err)
		}
	}
	return netlink.LinkSetUp(br)
}

// buildPlace makes a named network namespace, joined to the bridge with one address of each family, that knows the ways
// to the pods of all nodes but its own. The control plane's own is 0, and it has no address of IPv6.
func (l layout) buildPlace(name, link, ip, ip6 string, own, nodes int) error {
	if err := makeNetns(name); err != nil {
		return err
	}
	ns, err := netns.GetFromName(name)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer ns.Close()
	br, err := netlink.LinkByName(l.bridge())
	if err != nil {
		return fmt.Errorf("bridge %s: %w", l.bridge(), err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: link, MasterIndex: br.Attrs().Index}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("veth %s: %w", link, err)
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return err
	}
	defer h.Close()
	addrs, gateways := []*netlink.Addr{address(ip + "/24")}, map[string]string{"0.0.0.0/0": l.hostIP()}
	if ip6 != "" && l.dual {
		addrs, gateways["::/0"] = append(addrs, address(ip6+"/64")), l.hostIP6()
	}
	for _, name := range []string{"lo", "eth0"} {
		dev, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if err := h.LinkSetUp(dev); err != nil {
			return err
		}
		for _, a := range addrs {
			if name == "lo" {
				break
			}
			if err := h.AddrAdd(dev, a); err != nil {
				return fmt.Errorf("address %s: %w", a, err)
			}
		}
	}
	for dst, gateway := range gateways {
		if err := h.RouteAdd(&netlink.Route{Dst: network(dst), Gw: net.ParseIP(gateway)}); err != nil {
			return fmt.Errorf("route to %s by %s: %w", dst, gateway, err)
		}
	}
	if ip6 == "" {
		l.dual = false
	}
	return l.routePods(h.RouteReplace, own, nodes)
}

// routePods adds a route to every node's pods but those of the node own.
func (l layout) routePods(add func(*netlink.Route) error, own, nodes int) error {
	for n := 1; n <= nodes; n++ {
		if n == own {
			continue
		}
		ways := map[string]string{l.nodeCIDR(n): l.nodeIP(n)}
		if l.dual {
			ways[l.nodeCIDR6(n)] = l.nodeIP6(n)
		}
		for pods, by := range ways {
			if err := add(&netlink.Route{Dst: network(pods), Gw: net.ParseIP(by)}); err != nil {
				return fmt.Errorf("route to the pods of %s, %s: %w", nodeName(n), pods, err)
			}
		}
	}
	return nil
}

// removeNetwork deletes every link and namespace of this cluster, from what there is and not from what was noted.
func (l layout) removeNetwork() error {
	var errs []error
	spaces, err := os.ReadDir("/run/netns")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, s := range spaces {
		if l.ownsNetns(s.Name()) {
			errs = append(errs, netns.DeleteNamed(s.Name()))
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		errs = append(errs, err)
	}
	for _, link := range links {
		if !l.ownsLink(link.Attrs().Name) {
			continue
		}
		// a veth may be gone since the list was made: it goes with its namespace
		if err := netlink.LinkDel(link); err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) && !gone(err) {
			errs = append(errs, fmt.Errorf("link %s: %w", link.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// makeNetns makes a named network namespace as `ip netns add` does, without leaving the caller's.
func makeNetns(name string) error {
	if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
		return fmt.Errorf("network namespace %s: %w: %s", name, err, out)
	}
	return nil
}

// inNetns runs a function on a thread in another network namespace; what it forks begins there.
func inNetns(name string, do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, as it is in the wrong namespace
		ns, err := netns.GetFromName(name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err != nil {
			done <- fmt.Errorf("entering network namespace %s: %w", name, err)
			return
		}
		done <- do()
	}()
	return <-done
}

func address(cidr string) *netlink.Addr {
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		panic(err) // made by layout
	}
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD // nobody else can have it, so it need not be asked for a second
	}
	return a
}

func network(cidr string) *net.IPNet {
	_, n, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err) // made by layout
	}
	return n
}
