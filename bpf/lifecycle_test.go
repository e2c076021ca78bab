package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// TestDead: without ztunnel, then without agent too, everything is refused, fast.
func TestDead(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"p1", "p3", "r"} {
		l.start("echo", l.pods[name].ns, "pod-"+name, nil, ":8080")
	}
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1", "p2")
	p1, r := l.pods["p1"], l.pods["r"]
	if o := l.dial("p1", r.at(8080, false)); !o.OK {
		t.Fatalf("before: %+v", o)
	}
	refused := func(t *testing.T) {
		t.Helper()
		bothFamilies(t, func(t *testing.T, v6 bool) {
			l.t = t
			for what, o := range map[string]outcome{
				"outbound":         l.dial("p1", r.at(8080, v6)),
				"outbound to mesh": l.dial("p1", l.pods["p2"].at(8080, v6)),
				"inbound":          l.dial("r", p1.at(8080, v6)),
				"inbound HBONE":    l.dial("r", p1.at(PortHBONE, v6)),
			} {
				if o.Errno != int(syscall.ECONNREFUSED) || o.Elapsed > time.Second { // a SYN that is dropped is sent again after one second
					t.Errorf("%s: %+v", what, o)
				}
				t.Logf("%s refused after %v", what, o.Elapsed)
			}
			if o := l.dial("p1", netip.AddrPortFrom(loopback(v6), 8080)); !o.OK {
				t.Errorf("loopback: %+v", o)
			}
			if o := l.dial("p3", r.at(8080, v6)); !o.OK {
				t.Errorf("pod outside the mesh: %+v", o)
			}
			if o := l.dialFrom(l.node, "kubelet", p1.at(8080, v6)); !o.OK {
				t.Errorf("probe: %+v", o)
			}
		})
		l.t = t
	}
	z.kill()
	refused(t)
	must(t, l.r.Close())
	refused(t)
	l.open()
	refused(t)

	z = l.ztunnel()
	for _, name := range []string{"p1", "p2"} {
		ls, err := TakeListeners(l.pods[name].ns, z.cmd.Process.Pid)
		must(t, err)
		must(t, l.r.SetListeners(name, ls))
		ls.Close()
	}
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		if o := l.dial("p1", r.at(8080, v6)); !o.OK {
			t.Errorf("outbound with a new ztunnel: %+v", o)
		}
		if o := l.dial("r", p1.at(8080, v6)); !o.OK {
			t.Errorf("inbound with a new ztunnel: %+v", o)
		}
	})
}

// TestAdoptWithoutGap restarts the agent under load: nothing fails, and nothing
// goes past the ztunnel.
func TestAdoptWithoutGap(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["r"].ns, "pod-r", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1", "p2")
	stop := filepath.Join(t.TempDir(), "stop")
	many := l.start("many", l.pods["p1"].ns, "pod-p1", nil, l.pods["r"].at(8080, false).String(), stop)
	for range 4 {
		must(t, l.r.Close())
		l.open()
		got := l.r.Pods()
		sort.Strings(got)
		if !slices.Equal(got, []string{"p1", "p2"}) {
			t.Fatalf("adopted %v", got)
		}
		l.enrol(z, "p1", "p2") // the agent repeats what it knows
	}
	must(t, os.WriteFile(stop, nil, 0o600))
	var good, bad int
	line, _ := many.out.ReadString('\n')
	fmt.Sscan(line, &good, &bad)
	if bad != 0 || good < 20 {
		t.Errorf("connections while the agent restarted: %s", line)
	}
	c := l.counters("p1")
	if c[RedirectedOutbound] < uint64(good) || c[DroppedNotZtunnel] != 0 {
		t.Errorf("%d connections, %d redirected, %d packets dropped", good, c[RedirectedOutbound], c[DroppedNotZtunnel])
	}
}

// TestEnrolRepairs: an enrolment that lost a part is made whole by the next.
func TestEnrolRepairs(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["r"].ns, "pod-r", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	p1 := l.pods["p1"]
	whole := snapshot(t, l, p1)
	must(t, l.r.detach(l.r.pods["p1"], podProgWeftGuard, podProgWeftLookup))
	must(t, l.r.pods["p1"].delRoutes())
	must(t, l.r.Close())
	l.open()
	if broken := snapshot(t, l, p1); broken == whole {
		t.Fatal("nothing is broken")
	}
	l.enrol(z, "p1")
	if got := snapshot(t, l, p1); got != whole {
		t.Errorf("repaired to\n%s\nwanted\n%s", got, whole)
	}
	if o := l.dial("p1", l.pods["r"].at(8080, false)); !o.OK {
		t.Errorf("after repair: %+v", o)
	}
	if o := l.dial("p1", l.pods["r"].at(8080, false), "mark=0x539", "wait=300ms"); o.OK {
		t.Errorf("guard is not back: %+v", o)
	}
}

// TestEnrolResetsOldConnections: what was open in the clear does not go on.
func TestEnrolResetsOldConnections(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"p1", "r"} {
		l.start("echo", l.pods[name].ns, "pod-"+name, nil, ":8080")
	}
	out := l.start("hold", l.pods["p1"].ns, "pod-p1", nil, l.pods["r"].at(8080, false).String())
	in := l.start("hold", l.pods["r"].ns, "pod-r", nil, l.pods["p1"].at(8080, true).String())
	own := l.start("hold", l.pods["p1"].ns, "pod-p1", nil, "127.0.0.1:8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	for what, h := range map[string]*helper{"outbound": out, "inbound": in} {
		line, _ := h.out.ReadString('\n')
		if !strings.Contains(line, "connection abort") && !strings.Contains(line, "connection reset") {
			t.Errorf("%s connection from before ended with %q", what, line)
		}
	}
	if err := own.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("connection within the pod ended: %v", err)
	}
}

// TestUnenrolLeavesNothing compares the pod's namespace, its device and the
// pins before and after, for an enrolling agent and for its successor.
func TestUnenrolLeavesNothing(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["r"].ns, "pod-r", nil, ":8080")
	p1 := l.pods["p1"]
	inside(t, p1.ns, func() error { // values that are not the kernel's own
		return all(writeSysctl("ipv4/ip_local_reserved_ports", "7000,15006"), writeSysctl("ipv4/conf/eth0/rp_filter", "1"))
	})
	z := l.ztunnel()
	l.open()
	before, pins := snapshot(t, l, p1), listPins(t, l.root)
	for _, restart := range []bool{false, true} {
		l.enrol(z, "p1")
		during := snapshot(t, l, p1)
		if during == before || !strings.Contains(during, "7000") {
			t.Fatalf("enrolment shows no change, or lost a value:\n%s", during)
		}
		if restart {
			must(t, l.r.Close())
			l.open()
		}
		total := l.total(RedirectedOutbound)
		if o := l.dial("p1", l.pods["r"].at(8080, false)); !o.OK || l.total(RedirectedOutbound) == total {
			t.Fatalf("enrolled: %+v", o)
		}
		total = l.total(RedirectedOutbound)
		must(t, l.r.Unenrol("p1"))
		if got := l.total(RedirectedOutbound); got != total {
			t.Errorf("total went from %d to %d with the pod", total, got)
		}
		if after := snapshot(t, l, p1); after != before {
			t.Errorf("restart=%v: unenrolling left\n%s\nwanted\n%s", restart, after, before)
		}
		if got := listPins(t, l.root); got != pins {
			t.Errorf("pins left:\n%s\nwanted\n%s", got, pins)
		}
		if o := l.dial("p1", l.pods["r"].at(8080, false)); !o.OK || l.total(RedirectedOutbound) != total {
			t.Errorf("after unenrolling: %+v", o)
		}
	}
	if err := l.r.Unenrol("p1"); !errors.Is(err, ErrUnknownPod) {
		t.Errorf("unenrolling twice: %v", err)
	}
}

func TestTeardown(t *testing.T) {
	l := newLab(t)
	before := []string{snapshot(t, l, l.pods["p1"]), snapshot(t, l, l.pods["p2"])}
	for _, how := range []string{"Teardown", "Cleanup"} {
		l.open()
		l.enrol(nil, "p1", "p2")
		var ids []link.ID
		for _, lk := range l.r.links {
			info, err := lk.Info()
			must(t, err)
			ids = append(ids, info.ID)
		}
		if how == "Teardown" {
			must(t, l.r.Teardown())
		} else {
			must(t, l.r.Close())
			must(t, Cleanup(Options{Root: l.root, Node: l.node}))
		}
		if _, err := os.Stat(l.root); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: pins left: %s", how, listPins(t, l.root))
		}
		for _, id := range ids {
			eventually(t, "cgroup hook gone", func() bool { _, err := link.NewFromID(id); return errors.Is(err, os.ErrNotExist) })
		}
		for i, name := range []string{"p1", "p2"} {
			if after := snapshot(t, l, l.pods[name]); after != before[i] {
				t.Errorf("%s left in %s\n%s\nwanted\n%s", how, name, after, before[i])
			}
		}
	}
}

// TestPodGone: device or namespace vanished before Unenrol.
func TestPodGone(t *testing.T) {
	l := newLab(t)
	l.open()
	l.enrol(nil, "p1", "p2", "p3")
	inside(t, l.node, func() error {
		h, err := netlink.LinkByName("hp1")
		if err != nil {
			return err
		}
		return netlink.LinkDel(h)
	})
	must(t, l.r.Unenrol("p1"))
	must(t, l.r.Close())
	p2 := l.pods["p2"]
	cookie := p2.ns.Cookie()
	must(t, p2.ns.Close())
	eventually(t, "namespace gone", func() bool {
		gone := false
		inside(t, l.node, func() error { _, err := netlink.LinkByName("hp2"); gone = err != nil; return nil })
		return gone
	})
	l.open()
	if got := l.r.Pods(); len(got) != 2 {
		t.Fatalf("adopted %v", got)
	}
	must(t, l.r.Unenrol("p2"))
	var self nodeSelf
	if err := l.r.node.Selves.Lookup(cookie, &self); !errors.Is(err, ebpf.ErrKeyNotExist) {
		t.Errorf("the connect hooks still know the pod: %v", err)
	}
	must(t, l.r.Unenrol("p3"))
	if s := listPins(t, filepath.Join(l.root, "pods")); s != "" {
		t.Errorf("pins left: %s", s)
	}
}

func TestEnrolErrors(t *testing.T) {
	l := newLab(t)
	l.open()
	p1 := l.pods["p1"]
	before := snapshot(t, l, p1)
	good := p1.spec()
	host, err := l.node.File()
	must(t, err)
	defer host.Close()
	for what, c := range map[string]struct {
		pod  Pod
		want string
	}{
		"no UID":         {Pod{Netns: good.Netns, Addresses: good.Addresses}, "no UID"},
		"no address":     {Pod{UID: "x", Netns: good.Netns}, "no address"},
		"two of a kind":  {Pod{UID: "x", Netns: good.Netns, Addresses: []netip.Addr{p1.ip4, l.pods["p2"].ip4}}, "more than one"},
		"wrong address":  {Pod{UID: "x", Netns: good.Netns, Addresses: []netip.Addr{l.pods["p2"].ip4}}, "no interface in the pod has address"},
		"host's network": {Pod{UID: "x", File: host, Addresses: good.Addresses}, "node's own"},
		"no such path":   {Pod{UID: "x", Netns: "/run/netns/wft-none", Addresses: good.Addresses}, "no such file"},
		"bad listener":   {Pod{UID: "x", Netns: good.Netns, Addresses: good.Addresses, Listeners: &Listeners{Outbound: host}}, "listening socket"},
	} {
		err := l.r.Enrol(c.pod)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if after := snapshot(t, l, p1); after != before {
		t.Errorf("failed enrolments left\n%s\nwanted\n%s", after, before)
	}
	if len(l.r.Pods()) != 0 {
		t.Errorf("failed pods are known: %v", l.r.Pods())
	}
	if _, err := Open(Options{Root: t.TempDir(), Node: l.node}); !errors.Is(err, ErrNotBPFFS) {
		t.Errorf("root on another file system: %v", err)
	}
	if err := l.r.AddZtunnelCgroup(1); err == nil {
		t.Error("the root cgroup was accepted as ztunnel's")
	}
}
