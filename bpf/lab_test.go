package bpf

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
)

// The lab of these tests: a node that forwards, pods on it, and a remote host
// behind it, all in anonymous namespaces that vanish with the test.
type lab struct {
	t      *testing.T
	name   string // unique, of cgroups and pins
	root   string // pins
	cgroup string // directory of this test's cgroups
	node   *netns.NS
	pods   map[string]*labPod
	r      *Redirector

	maxPods int  // 0: 16
	hand    bool // packets of the direct path are handed over
	direct  bool // pods enrolled from now on may talk directly
}

type labPod struct {
	name     string
	ns       *netns.NS
	ip4, ip6 netip.Addr
	gateway  net.HardwareAddr // of the host's end
}

// spec names the namespace by a path that a successor finds again.
func (p *labPod) spec() Pod {
	s := Pod{UID: p.name, Addresses: []netip.Addr{p.ip4, p.ip6}, ProbePorts: []uint16{81, 8080}}
	p.ns.WithFd(func(fd int) error {
		s.Netns = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), fd)
		return nil
	})
	return s
}

func privileged(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, and CI must provide it")
	}
	t.Skip("needs root: eBPF, network namespaces, cgroups")
}

// newLab raises node, pods p1 and p2 (to be enrolled), p3 (not) and remote r.
func newLab(t *testing.T) *lab {
	privileged(t)
	root, err := CgroupRoot()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, name: fmt.Sprintf("wft-bpf-%d-%d", os.Getpid(), time.Now().UnixNano()), pods: map[string]*labPod{}}
	l.cgroup = filepath.Join(root, l.name)
	mount := filepath.Join(t.TempDir(), "bpf")
	must(t, MountBPFFS(mount))
	t.Cleanup(func() { must(t, unix.Unmount(mount, unix.MNT_DETACH)) })
	l.root = filepath.Join(mount, "weft")
	t.Cleanup(l.dropCgroups)
	l.node = newNS(t)
	inside(t, l.node, func() error {
		for name, v := range map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0"} {
			if err := writeSysctl(name, v); err != nil {
				return err
			}
		}
		return up("lo")
	})
	for i, name := range []string{"p1", "p2", "p3"} {
		l.addPod(name, fmt.Sprintf("10.77.0.%d", 11+i), fmt.Sprintf("fd77::%d", 11+i))
	}
	l.addPod("r", "10.77.9.2", "fd77:9::2")
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func inside(t *testing.T, ns *netns.NS, fn func() error) {
	t.Helper()
	must(t, ns.Do(fn))
}

func newNS(t *testing.T) *netns.NS {
	t.Helper()
	ch := make(chan *os.File)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			close(ch)
			return
		}
		f, _ := os.Open("/proc/thread-self/ns/net")
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
	// No waiting for duplicate addresses, of which there are none.
	inside(t, ns, func() error {
		return all(writeSysctl("ipv6/conf/all/accept_dad", "0"), writeSysctl("ipv6/conf/default/accept_dad", "0"))
	})
	return ns
}

func up(name string) error {
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
	if strings.Contains(cidr, ":") {
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
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: d}
	if via != "" {
		r.Gw = net.ParseIP(via)
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	return netlink.RouteAdd(r)
}

func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// addPod makes a namespace with eth0, whose other end is hNAME on the node.
func (l *lab) addPod(name, ip4, ip6 string) *labPod {
	p := &labPod{name: name, ns: newNS(l.t), ip4: netip.MustParseAddr(ip4), ip6: netip.MustParseAddr(ip6)}
	l.pods[name] = p
	host := "h" + name
	inside(l.t, l.node, func() error {
		err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: host, MTU: 1500}, PeerName: "e" + name})
		if err != nil {
			return err
		}
		peer, err := netlink.LinkByName("e" + name)
		if err != nil {
			return err
		}
		if err := p.ns.WithFd(func(fd int) error { return netlink.LinkSetNsFd(peer, fd) }); err != nil {
			return err
		}
		h, err := netlink.LinkByName(host)
		if err != nil {
			return err
		}
		p.gateway = h.Attrs().HardwareAddr
		return all(up(host), address(host, "10.77.255.1/32"), address(host, "fe80::1/64"),
			route(host, ip4+"/32", ""), route(host, ip6+"/128", ""))
	})
	inside(l.t, p.ns, func() error {
		e, err := netlink.LinkByName("e" + name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetName(e, "eth0"); err != nil {
			return err
		}
		return all(up("lo"), up("eth0"), address("eth0", ip4+"/32"), address("eth0", ip6+"/128"),
			route("eth0", "10.77.255.1/32", ""), route("eth0", "0.0.0.0/0", "10.77.255.1"), route("eth0", "::/0", "fe80::1"))
	})
	eventually(l.t, "link-local address", func() bool {
		n := 0
		inside(l.t, p.ns, func() error {
			e, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			// The kernel adds an address's own route a little after the address.
			own, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: e.Attrs().Index, Type: unix.RTN_LOCAL},
				netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF|netlink.RT_FILTER_TYPE)
			n = len(own)
			return err
		})
		return n == 2
	})
	return p
}

// bridge makes a pod whose host's end is a port of br0 on the node.
func (l *lab) bridge(name, ip4, ip6 string) {
	p := l.addPod(name, ip4, ip6)
	inside(l.t, l.node, func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}); err != nil {
				return err
			}
			if err := all(up("br0"), address("br0", "10.78.0.1/24"), address("br0", "fd78::1/64")); err != nil {
				return err
			}
			if br, err = netlink.LinkByName("br0"); err != nil {
				return err
			}
		}
		h, err := netlink.LinkByName("h" + name)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(h, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range addrs { // its routes go with them, but for these
			if err := netlink.AddrDel(h, &a); err != nil {
				return err
			}
		}
		for _, dst := range []string{ip4 + "/32", ip6 + "/128"} {
			_, d, _ := net.ParseCIDR(dst)
			if err := netlink.RouteDel(&netlink.Route{LinkIndex: h.Attrs().Index, Dst: d}); err != nil && !gone(err) {
				return err
			}
		}
		return netlink.LinkSetMaster(h, br)
	})
	inside(l.t, p.ns, func() error {
		return all(route("eth0", "10.78.0.0/24", ""), route("eth0", "fd78::/64", ""))
	})
}

// open starts a Redirector on the lab's node.
func (l *lab) open() *Redirector {
	l.t.Helper()
	r, err := Open(Options{Root: l.root, Node: l.node, MaxPods: max(16, l.maxPods), Log: zap.NewNop()})
	must(l.t, err)
	l.t.Cleanup(func() { r.Close() })
	l.r = r
	zt, err := CgroupID(l.mkCgroup("ztunnel"))
	must(l.t, err)
	must(l.t, r.AddZtunnelCgroup(zt))
	kubelet, err := CgroupID(l.mkCgroup("kubelet"))
	must(l.t, err)
	must(l.t, r.SetKubeletCgroups(kubelet))
	return r
}

// enrol captures the pod and gives it the listeners of the running ztunnel.
func (l *lab) enrol(z *helper, names ...string) {
	l.t.Helper()
	for _, name := range names {
		s := l.pods[name].spec()
		s.Direct, s.HandOver = l.direct, l.hand
		if z != nil {
			ls, err := TakeListeners(l.pods[name].ns, z.cmd.Process.Pid)
			must(l.t, err)
			if m := ls.Missing(true, true, true); m != nil {
				l.t.Fatalf("ztunnel lacks listeners %v", m)
			}
			s.Listeners = &ls
			defer ls.Close()
		}
		must(l.t, l.r.Enrol(s))
	}
}

func (l *lab) mkCgroup(name string) string {
	l.t.Helper()
	dir := filepath.Join(l.cgroup, name)
	must(l.t, os.MkdirAll(dir, 0o755))
	return dir
}

// dropCgroups waits for the processes to be gone: helpers are killed before.
func (l *lab) dropCgroups() {
	deadline := time.Now().Add(5 * time.Second)
	for {
		dirs, _ := filepath.Glob(filepath.Join(l.cgroup, "*"))
		for _, d := range dirs {
			if st, err := os.Stat(d); err == nil && st.IsDir() {
				unix.Rmdir(d)
			}
		}
		if err := unix.Rmdir(l.cgroup); err == nil || err == unix.ENOENT {
			return
		} else if time.Now().After(deadline) {
			l.t.Errorf("cgroup %s stays: %v", l.cgroup, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (l *lab) counters(uid string) CounterSet {
	l.t.Helper()
	c, err := l.r.Counters()
	must(l.t, err)
	return c.Pods[uid]
}

// eventually polls cond for five seconds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
