package ztunnel_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/netns"
)

// kernelLab is a node with pods as real network namespaces and real redirection. The test process is
// ztunnel and applications at once; what it may not do as an application is for package bpf to test.
type kernelLab struct {
	t    testing.TB
	node *netns.NS
	pods map[string]*netns.NS
	r    *bpf.Redirector

	authority *ca.Authority // signs for every ztunnel here
	apps      string        // cgroup of applications; made when first asked for
	direct    bool          // pods captured from now on may talk directly
	maps      chan struct{} // holds one while a ztunnel has the maps of the direct path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKernelLab(t testing.TB) *kernelLab {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, and CI must provide it")
		}
		t.Skip("needs root: eBPF, network namespaces, cgroups")
	}
	l := &kernelLab{t: t, pods: map[string]*netns.NS{}, maps: make(chan struct{}, 1)}
	cgroup := ownCgroup(t)
	mount := filepath.Join(t.TempDir(), "bpf")
	must(t, bpf.MountBPFFS(mount))
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	l.node = newNamespace(t)
	must(t, l.node.Do(func() error {
		return errors.Join(sysctl("ipv4/ip_forward", "1"), sysctl("ipv6/conf/all/forwarding", "1"), sysctl("ipv4/conf/all/rp_filter", "0"),
			sysctl("ipv4/conf/default/rp_filter", "0"), linkUp("lo"))
	}))
	r, err := bpf.Open(bpf.Options{Root: filepath.Join(mount, "weft"), Node: l.node})
	must(t, err)
	t.Cleanup(func() { must(t, r.Teardown()) })
	must(t, r.AddZtunnelCgroup(cgroup))
	l.r = r
	return l
}

// ownCgroup moves this process into a cgroup of its own until the test ends.
func ownCgroup(t testing.TB) (id uint64) {
	root, err := bpf.CgroupRoot()
	must(t, err)
	old, _, err := bpf.CgroupOf(root, os.Getpid())
	must(t, err)
	dir := filepath.Join(root, fmt.Sprintf("wft-ztunnel-%d-%d", os.Getpid(), time.Now().UnixNano()))
	must(t, os.Mkdir(dir, 0o755))
	move := func(to string) error {
		return os.WriteFile(filepath.Join(to, "cgroup.procs"), fmt.Append(nil, os.Getpid()), 0)
	}
	must(t, move(dir))
	t.Cleanup(func() {
		if err := errors.Join(move(old), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	id, err = bpf.CgroupID(dir)
	must(t, err)
	return id
}

func newNamespace(t testing.TB) *netns.NS {
	t.Helper()
	ch := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var f *os.File
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			f, _ = os.Open("/proc/thread-self/ns/net")
		}
		ch <- f
	}()
	f := <-ch
	if f == nil {
		t.Fatal("cannot make a network namespace")
	}
	defer f.Close()
	ns, err := netns.FromFile(f)
	must(t, err)
	t.Cleanup(func() { ns.Close() })
	must(t, ns.Do(func() error {
		return errors.Join(sysctl("ipv6/conf/all/accept_dad", "0"), sysctl("ipv6/conf/default/accept_dad", "0"))
	}))
	return ns
}

func sysctl(name, value string) error {
	return os.WriteFile("/proc/thread-self/root/proc/sys/net/"+name, []byte(value), 0o644)
}

func linkUp(name string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(l)
}

func address(name, cidr string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	if a.IP.To4() == nil {
		a.Flags |= unix.IFA_F_NODAD
	}
	return netlink.AddrAdd(l, a)
}

func route(name, dst, via string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	_, d, err := net.ParseCIDR(dst)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: d, Gw: net.ParseIP(via)}
	if via == "" {
		r.Scope = netlink.SCOPE_LINK
	}
	return netlink.RouteAdd(r)
}

// addPod joins a new namespace to the node by a veth.
func (l *kernelLab) addPod(name, ip4, ip6 string) *netns.NS {
	ns := newNamespace(l.t)
	l.pods[name] = ns
	host := "h" + name
	must(l.t, l.node.Do(func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host, MTU: 1500}, PeerName: "e" + name}); err != nil {
			return err
		}
		peer, err := netlink.LinkByName("e" + name)
		if err != nil {
			return err
		}
		if err := ns.WithFd(func(fd int) error { return netlink.LinkSetNsFd(peer, fd) }); err != nil {
			return err
		}
		return errors.Join(linkUp(host), address(host, "10.78.255.1/32"), address(host, "fe80::1/64"), route(host, ip4+"/32", ""), route(host, ip6+"/128", ""))
	}))
	must(l.t, ns.Do(func() error {
		e, err := netlink.LinkByName("e" + name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetName(e, "eth0"); err != nil {
			return err
		}
		return errors.Join(linkUp("lo"), linkUp("eth0"), address("eth0", ip4+"/32"), address("eth0", ip6+"/128"),
			route("eth0", "10.78.255.1/32", ""), route("eth0", "0.0.0.0/0", "10.78.255.1"), route("eth0", "::/0", "fe80::1"))
	}))
	return ns
}

// capture does the agent's part: it redirects the pod to the listeners that this process has in it.
func (l *kernelLab) capture(name string, addrs ...netip.Addr) {
	l.t.Helper()
	ns := l.pods[name]
	listeners, err := bpf.TakeListeners(ns, os.Getpid())
	must(l.t, err)
	defer listeners.Close()
	if missing := listeners.Missing(true, true, true); len(missing) > 0 {
		l.t.Fatalf("ztunnel does not listen: %v", missing)
	}
	f, err := ns.File()
	must(l.t, err)
	defer f.Close()
	must(l.t, l.r.Enrol(bpf.Pod{UID: "uid-" + name, File: f, Addresses: addrs, Listeners: &listeners, Direct: l.direct}))
}

// whoami answers every connection with the client's address as it saw it, then echoes.
func (l *kernelLab) whoami(ns *netns.NS, at string) {
	l.t.Helper()
	li, err := ns.ListenTCP(netns.ListenOptions{Addr: netip.MustParseAddrPort(at)})
	must(l.t, err)
	l.t.Cleanup(func() { li.Close() })
	go func() {
		for {
			c, err := li.AcceptTCP()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil { // out of descriptors, which may pass
				time.Sleep(time.Millisecond)
				continue
			}
			go func() {
				fmt.Fprintf(c, "%s\n", netns.Source(c).Addr())
				echo(c)
			}()
		}
	}()
}
