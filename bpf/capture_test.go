package bpf

import (
	"net/netip"
	"syscall"
	"testing"
	"time"
)

func TestCapture(t *testing.T) {
	l := newLab(t)
	for _, name := range []string{"p1", "p2", "p3", "r"} {
		l.start("echo", l.pods[name].ns, "pod-"+name, nil, ":8080")
	}
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1", "p2")
	p1, p2, p3, r := l.pods["p1"], l.pods["p2"], l.pods["p3"], l.pods["r"]

	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		before1, before2 := l.counters("p1"), l.counters("p2")

		o := l.dial("p1", r.at(8080, v6))
		if !o.OK || o.Via != r.at(8080, v6).String() || addrOf(o.Saw) != p1.at(0, v6).Addr() {
			t.Errorf("pod to the outside: %+v", o)
		}
		o = l.dial("p1", p2.at(8080, v6))
		if !o.OK || o.Via != p2.at(8080, v6).String() || addrOf(o.Saw) != p1.at(0, v6).Addr() {
			t.Errorf("pod to pod through the tunnel: %+v", o)
		}
		o = l.dial("r", p1.at(8080, v6))
		if !o.OK || addrOf(o.Saw) != r.at(0, v6).Addr() {
			t.Errorf("plaintext from outside, source kept: %+v", o)
		}
		o = l.dial("p1", p1.at(8080, v6))
		if !o.OK || addrOf(o.Saw) != p1.at(0, v6).Addr() {
			t.Errorf("pod to itself: %+v", o)
		}
		o = l.dial("p1", netip.AddrPortFrom(loopback(v6), 8080))
		if !o.OK {
			t.Errorf("pod to its loopback: %+v", o)
		}
		o = l.dial("p3", r.at(8080, v6))
		if !o.OK || addrOf(o.Saw) != p3.at(0, v6).Addr() {
			t.Errorf("pod outside the mesh: %+v", o)
		}
		o = l.dial("r", p1.at(81, v6))
		if o.OK || o.Elapsed > time.Second {
			t.Errorf("closed port: %+v", o)
		}
		o = l.dial("p1", r.at(81, v6))
		if o.OK || o.Elapsed > time.Second {
			t.Errorf("closed port outside: %+v", o)
		}
		for _, port := range []uint16{PortOutbound, PortInbound} {
			if o := l.dial("r", p1.at(port, v6)); o.Errno != int(syscall.ECONNREFUSED) {
				t.Errorf("reserved port %d from outside: %+v", port, o)
			}
		}
		for _, port := range []uint16{PortOutbound, PortInbound, PortHBONE} {
			if o := l.dial("p1", netip.AddrPortFrom(loopback(v6), port)); o.Errno != int(syscall.ECONNREFUSED) {
				t.Errorf("reserved port %d from inside: %+v", port, o)
			}
		}
		after1, after2 := l.counters("p1"), l.counters("p2")
		for _, c := range []struct {
			what  Counter
			delta uint64
		}{
			{RedirectedOutbound, after1[RedirectedOutbound] - before1[RedirectedOutbound]},
			{RedirectedInbound, after1[RedirectedInbound] - before1[RedirectedInbound]},
			{RedirectedHBONE, after2[RedirectedHBONE] - before2[RedirectedHBONE]},
			{SentZtunnel, after1[SentZtunnel] - before1[SentZtunnel]},
			{PassedLocal, after1[PassedLocal] - before1[PassedLocal]},
			{RefusedReservedPort, after1[RefusedReservedPort] - before1[RefusedReservedPort]},
		} {
			if c.delta == 0 {
				t.Errorf("counter %v did not move", c.what)
			}
		}
		if d := after1[DroppedNotZtunnel] - before1[DroppedNotZtunnel]; d != 0 {
			t.Errorf("%d packets of honest traffic dropped", d)
		}
	})
}

func TestDNS(t *testing.T) {
	l := newLab(t)
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	for _, server := range []string{"192.0.2.53:53", "[2001:db8::53]:53"} {
		for _, how := range []string{"connected", "unconnected"} {
			want := "answer to query from " + server
			if got := l.run("dns", l.pods["p1"].ns, "pod-p1", server, how); got != want {
				t.Errorf("%s %s: %q, want %q", server, how, got, want)
			}
		}
	}
	if c := l.counters("p1"); c[RedirectedDNS] != 4 {
		t.Errorf("redirected %d queries, want 4", c[RedirectedDNS])
	}
	z.kill()
	for _, how := range []string{"connected", "unconnected"} {
		got := l.run("dns", l.pods["p1"].ns, "pod-p1", "192.0.2.53:53", how)
		if want := "error after 0s"; len(got) < len(want) || got[:len(want)] != want {
			t.Errorf("no ztunnel, %s: %q", how, got)
		}
	}
}

func loopback(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	return netip.MustParseAddr("127.0.0.1")
}

func addrOf(s string) netip.Addr {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr()
}
