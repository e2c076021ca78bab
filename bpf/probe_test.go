package bpf

import (
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// TestProbes: with no ztunnel at all, only what the kubelet itself opens from
// the node reaches the application.
func TestProbes(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["p1"].ns, "pod-p1", nil, ":8080")
	l.open()
	l.enrol(nil, "p1")
	p1 := l.pods["p1"]
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		o := l.dialFrom(l.node, "kubelet", p1.at(8080, v6))
		if !o.OK || o.Elapsed > time.Second {
			t.Errorf("probe: %+v", o)
		}
		if !v6 && addrOf(o.Saw) != netip.MustParseAddr("10.77.255.1") {
			t.Errorf("probe came with address %s, want the node's", o.Saw)
		}
		o = l.dialFrom(l.node, "kubelet", p1.at(81, v6))
		if o.Errno != int(syscall.ECONNREFUSED) || o.Elapsed > time.Second {
			t.Errorf("probe of a closed port: %+v", o)
		}
		o = l.dialFrom(l.node, "other", p1.at(8080, v6))
		if o.Errno != int(syscall.ECONNREFUSED) || o.Elapsed > time.Second {
			t.Errorf("another process of the node: %+v", o)
		}
		// A process of the right cgroup, but in a pod.
		o = l.dialFrom(l.pods["p3"].ns, "kubelet", p1.at(8080, v6))
		if o.OK {
			t.Errorf("kubelet's cgroup in another namespace: %+v", o)
		}
	})
	l.t = t

	// Another pod with an address of the node: it must not be taken for a
	// probe. (IPv4 routers drop such a source by themselves.)
	inside(t, l.node, func() error { return address("hp1", "fd77:ff::1/128") })
	before := l.counters("p1")
	o := l.dial("p3", p1.at(8080, true), "source=fd77:ff::1", "wait=300ms")
	if o.OK {
		t.Errorf("forged address of the node: %+v", o)
	}
	eventually(t, "forged SYN refused", func() bool {
		return l.counters("p1")[RefusedNoListener] > before[RefusedNoListener]
	})
	if after := l.counters("p1"); after[PassedProbe] != before[PassedProbe] {
		t.Error("forged address of the node passed as a probe")
	}
	if c := l.counters("p1"); c[PassedProbe] < 2 || c[SentProbeReply] == 0 {
		t.Errorf("counters of probes: passed %d, replies %d", c[PassedProbe], c[SentProbeReply])
	}

	must(t, l.r.SetKubeletCgroups())
	if o := l.dialFrom(l.node, "kubelet", p1.at(8080, false)); o.OK {
		t.Error("a probe passed after the kubelet's cgroup was taken away")
	}
}

// TestProbeTupleIsNotADoor: an application that was probed may answer on that
// connection, and nothing else.
func TestProbeTupleIsNotADoor(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["p1"].ns, "pod-p1", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	p1 := l.pods["p1"]
	probe := l.dialFrom(l.node, "kubelet", p1.at(8080, false))
	if !probe.OK {
		t.Fatalf("probe: %+v", probe)
	}
	send := func(attack, from string) {
		t.Helper()
		l.run("attack", p1.ns, "pod-p1", attackNamed(t, attack), p1.ip4.String(), probe.Saw, p1.gateway.String(), from)
	}
	for _, c := range []struct {
		attack, from string
		counter      Counter
	}{
		{"packet socket, qdisc bypass", "8080", DroppedNotZtunnel}, // a SYN on the very tuple
		{"packet socket data, qdisc bypass", "8081", DroppedNotZtunnel},
		{"packet socket data, qdisc bypass", "8080", SentProbeReply},
	} {
		before := l.counters("p1")[c.counter]
		send(c.attack, c.from)
		eventually(t, c.attack+" from port "+c.from+": "+c.counter.String(), func() bool { return l.counters("p1")[c.counter] > before })
	}
	before := l.counters("p1")
	o := l.dial("p1", netip.MustParseAddrPort("10.77.255.1:22"), "mark=0x539", "wait=300ms")
	after := l.counters("p1")
	if o.OK || after[DroppedNotZtunnel] == before[DroppedNotZtunnel] {
		t.Errorf("pod to the node after a probe: %+v", o)
	}
}

// TestBridge: capture works where pods hang on a bridge, and frames pass from
// pod to pod below the node's IP; a process in the kubelet's cgroup but in
// another pod is no kubelet there either.
func TestBridge(t *testing.T) {
	l := newLab(t)
	l.bridge("b1", "10.78.0.11", "fd78::11")
	l.bridge("b2", "10.78.0.12", "fd78::12")
	b1, b2 := l.pods["b1"], l.pods["b2"]
	l.start("echo", b1.ns, "pod-b1", nil, ":8080")
	l.start("echo", b2.ns, "pod-b2", nil, ":8080")
	l.open()
	l.enrol(nil, "b1")
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		if o := l.dialFrom(l.node, "kubelet", b1.at(8080, v6)); !o.OK {
			t.Errorf("probe over the bridge: %+v", o)
		}
		o := l.dialFrom(b2.ns, "kubelet", b1.at(8080, v6))
		if o.Errno != int(syscall.ECONNREFUSED) {
			t.Errorf("kubelet's cgroup in another pod of the bridge: %+v", o)
		}
		o = l.dial("b1", b2.at(8080, v6), "mark=0x539", "wait=300ms")
		if o.OK {
			t.Errorf("past the guard over the bridge: %+v", o)
		}
	})
}

// TestSpoofedOwnAddress: outside, nobody is the pod itself.
func TestSpoofedOwnAddress(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["p1"].ns, "pod-p1", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	p1 := l.pods["p1"]
	o := l.dial("p3", p1.at(8080, true), "source="+p1.ip6.String(), "wait=300ms")
	if o.OK {
		t.Errorf("connected with the pod's own address: %+v", o)
	}
	eventually(t, "spoofed packet dropped", func() bool { return l.counters("p1")[DroppedSpoofed] > 0 })
}
