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
)

// buildBridge joins the machine to the cluster.
func (l layout) buildBridge() error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: l.bridge()}}
	if err := netlink.LinkAdd(br); err != nil {
		return fmt.Errorf("bridge %s: %w", l.bridge(), err)
	}
	if err := netlink.AddrAdd(br, address(l.hostIP()+"/24")); err != nil {
		return fmt.Errorf("address of bridge %s: %w", l.bridge(), err)
	}
	return netlink.LinkSetUp(br)
}

// buildPlace makes a named network namespace, joined to the bridge with one address, that knows the ways to the pods
// of all nodes but its own (own is 0 for the control plane).
func (l layout) buildPlace(name, link, ip string, own, nodes int) error {
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
	for _, name := range []string{"lo", "eth0"} {
		dev, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if name == "eth0" {
			if err := h.AddrAdd(dev, address(ip+"/24")); err != nil {
				return err
			}
		}
		if err := h.LinkSetUp(dev); err != nil {
			return err
		}
	}
	if err := h.RouteAdd(&netlink.Route{Dst: network("0.0.0.0/0"), Gw: net.ParseIP(l.hostIP())}); err != nil {
		return err
	}
	return l.routePods(h.RouteReplace, own, nodes)
}

// routePods adds a route to every node's pods but those of the node own.
func (l layout) routePods(add func(*netlink.Route) error, own, nodes int) error {
	for n := 1; n <= nodes; n++ {
		if n == own {
			continue
		}
		if err := add(&netlink.Route{Dst: network(l.nodeCIDR(n)), Gw: net.ParseIP(l.nodeIP(n))}); err != nil {
			return fmt.Errorf("route to the pods of %s: %w", nodeName(n), err)
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
	return a
}

func network(cidr string) *net.IPNet {
	_, n, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err) // made by layout
	}
	return n
}
