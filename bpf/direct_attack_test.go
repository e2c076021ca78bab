package bpf

import (
	"net/netip"
	"strconv"
	"testing"

	"github.com/weftmesh/weft/pkg/direct"
)

// Ways of root in a pod to reach what policy does not leave open, where a direct path to other ports is: p1 may
// talk to ports 8080 and 8090 of p2 and to nothing else. None of them may show at p2's or the remote's eth0, and the
// guard's counters say why.
func TestDirectAttacks(t *testing.T) {
	l, _ := directLab(t)
	p1, p2, r := l.pods["p1"], l.pods["p2"], l.pods["r"]
	at := map[string]*capture{"p2": l.capture(p2.ns), "r": l.capture(r.ns)}
	for _, name := range []string{"raw socket SYN", "raw socket data", "raw socket SYN-ACK", "packet socket SYN", "packet socket, qdisc bypass",
		"packet socket, qdisc bypass, IPv6", "foreign source", "IP options", "fragments", "IPIP", "VLAN tag", "IPv6 hop-by-hop",
		"IPv6 destination options", "IPv6 fragment header", "IPv6 in IPv6"} {
		i, err := strconv.Atoi(attackNamed(t, name))
		must(t, err)
		for _, victim := range []*labPod{p2, r} {
			t.Run(name+" at "+victim.name, func(t *testing.T) {
				l.t = t
				a := attacks[i]
				before := l.counters("p1")[a.expect]
				to := victim.at(tokenPort+uint16(i), a.v6)
				l.run("attack", p1.ns, "pod-p1", strconv.Itoa(i), p1.at(0, a.v6).Addr().String(), to.String(), p1.gateway.String())
				eventually(t, "counter "+a.expect.String(), func() bool { return l.counters("p1")[a.expect] > before })
				l.fence(at["r"], i)
				if at[victim.name].saw(i) {
					t.Error("it left the pod")
				}
			})
		}
	}
	l.t = t
	if got := l.path(p2.at(8080, false)); got != "direct" {
		t.Errorf("honest traffic after the attacks: %s", got)
	}
}

// TestDirectMarks: a mark that the application sets itself opens nothing.
func TestDirectMarks(t *testing.T) {
	l, _ := directLab(t)
	for _, mark := range []string{"mark=0x53c", "mark=0x539", "mark=0x100"} {
		for what, to := range map[string]netip.AddrPort{"closed port": l.pods["p2"].at(9000, false), "outside": l.pods["r"].at(9000, false)} {
			before := l.counters("p2")[PassedDirect]
			o := l.dial("p1", to, mark, "wait=300ms")
			if l.counters("p2")[PassedDirect] != before {
				t.Errorf("%s, %s: let through %+v", mark, what, o)
			}
			// The hook takes our own mark away, so that it is proxied; the others leave and are dropped.
			if mark != "mark=0x53c" && o.OK {
				t.Errorf("%s, %s: %+v", mark, what, o)
			}
		}
		if got := l.path(l.pods["p2"].at(8080, false), mark); got != "direct" {
			t.Errorf("%s, permitted: %s", mark, got)
		}
	}
}

// TestDirectReplies: what answers can open nothing, and the other direction is closed.
func TestDirectReplies(t *testing.T) {
	l, _ := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	z := l.counters("p1")[PassedDirect]
	// A connection from the very port whose answers may leave.
	if o := l.dial("p2", p1.at(9000, false), "port=8090", "mark=0x53c", "wait=300ms"); l.counters("p1")[PassedDirect] != z {
		t.Errorf("p2 opened a connection: %+v", o)
	}
	at := l.capture(p1.ns)
	for _, name := range []string{"raw socket SYN", "packet socket, qdisc bypass"} {
		n := attackNamed(t, name)
		i, err := strconv.Atoi(n)
		must(t, err)
		before := l.counters("p2")[DroppedNotZtunnel]
		l.run("attack", p2.ns, "pod-p2", n, p2.ip4.String(), p1.at(tokenPort+uint16(i), false).String(), p2.gateway.String(), "8090")
		eventually(t, "dropped", func() bool { return l.counters("p2")[DroppedNotZtunnel] > before })
		if at.saw(i) {
			t.Errorf("%s from the port of an answer left p2", name)
		}
	}
	// What looks like an answer may leave, and nothing takes it: a listener of the application sees no connection.
	for _, name := range []string{"raw socket SYN-ACK", "raw socket data", "raw socket empty ACK"} {
		before := l.counters("p1")[PassedDirect]
		l.run("attack", p2.ns, "pod-p2", attackNamed(t, name), p2.ip4.String(), p1.at(9000, false).String(), p2.gateway.String(), "8090")
		if l.counters("p1")[PassedDirect] != before {
			t.Errorf("%s was given to an application", name)
		}
	}
}

// TestDirectForgedFromOutside: whoever claims to be p1 is not believed.
func TestDirectForgedFromOutside(t *testing.T) {
	l, _ := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	for _, name := range []string{"p3", "r"} {
		from := l.pods[name]
		for _, attack := range []string{"packet socket SYN", "raw socket SYN"} {
			before, in := l.counters("p2")[PassedDirect], l.counters("p2")[RedirectedInbound]
			l.run("attack", from.ns, "pod-"+name, attackNamed(t, attack), p1.ip4.String(), p2.at(8080, false).String(), from.gateway.String())
			eventually(t, "it arrives at ztunnel", func() bool { return l.counters("p2")[RedirectedInbound] > in })
			if l.counters("p2")[PassedDirect] != before {
				t.Errorf("%s from %s was given to the application", attack, name)
			}
		}
	}
	if got := l.path(p2.at(8080, false)); got != "direct" {
		t.Errorf("honest traffic: %s", got)
	}
}

// TestDirectAddressReuse: an address that is another pod's by now leads nowhere, and not to the other one in clear text.
func TestDirectAddressReuse(t *testing.T) {
	l, m := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	to := p2.at(8080, false)
	at := l.capture(p2.ns)
	if got := l.path(to); got != "direct" {
		t.Fatal(got)
	}
	// The address was given to a namespace that is not in the mesh: its ident is taken away before.
	must(t, direct.Forget(l.root, []netip.Addr{p2.ip4}))
	before := l.counters("p1")
	o := l.dial("p1", to)
	if after := l.counters("p1"); after[SentDirect] != before[SentDirect] || after[RedirectedOutbound] != before[RedirectedOutbound]+1 {
		t.Errorf("after the address was taken away: %+v", o)
	}
	if _, ok := m.At(p2.ip4); ok {
		t.Error("the address is still known")
	}
	if got := l.path(p2.at(8080, true)); got != "proxy" && got != "direct" {
		t.Errorf("its other address: %s", got)
	}
	// A stale ident, with a new pod that knows itself under another number: refused.
	must(t, l.r.node.Idents.Put(p2.ip4.As16(), direct.Ident{NS: p1.ns.Cookie() + 1000}))
	must(t, m.Permit(direct.PairOf(p1.ns.Cookie(), p1.ns.Cookie()+1000, to)))
	passed := l.counters("p2")[PassedDirect]
	if o := l.dial("p1", to, "wait=500ms"); l.counters("p2")[PassedDirect] != passed || o.OK && l.counters("p2")[RedirectedInbound] == 0 {
		t.Errorf("a stale address: %+v", o)
	}
	_ = at
}

// TestDirectOff: pods that may not talk directly do not, whatever is permitted.
func TestDirectOff(t *testing.T) {
	l, m := directLab(t)
	to := l.pods["p2"].at(8080, false)
	z := l.ztunnel()
	for _, off := range []string{"p1", "p2"} {
		l.direct = false
		l.enrol(z, off)
		if got := l.path(to); got != "proxy" {
			t.Errorf("%s is not to talk directly: %s", off, got)
		}
		if _, ok := m.At(l.pods[off].ip4); ok {
			t.Errorf("%s is still known", off)
		}
		l.direct = true
		l.enrol(z, off)
		if got := l.path(to); got != "direct" {
			t.Errorf("%s may again: %s", off, got)
		}
	}
	must(t, l.r.Unenrol("p2"))
	if _, ok := m.At(l.pods["p2"].ip4); ok {
		t.Error("a pod that left is still known")
	}
}

// TestDirectBridge: a pod behind a bridge, where neighbours can take over its link address, takes the proxy's path.
func TestDirectBridge(t *testing.T) {
	l := newLab(t)
	l.bridge("b1", "10.78.0.11", "fd78::11")
	l.open()
	l.direct = true
	l.enrol(nil, "b1")
	if _, ok := l.maps().At(l.pods["b1"].ip4); ok {
		t.Error("it may talk directly")
	}
}

// TestDirectOutlivesAgent: what is permitted stays so while no agent runs, and nothing else is.
func TestDirectOutlivesAgent(t *testing.T) {
	l, _ := directLab(t)
	to := l.pods["p2"].at(8080, false)
	must(t, l.r.Close())
	if o := l.dial("p1", to); !o.OK {
		t.Errorf("without an agent: %+v", o)
	}
	l.open()
	if got := l.path(to); got != "direct" {
		t.Errorf("with the next one: %s", got)
	}
	if got := l.path(l.pods["p2"].at(8081, false)); got != "proxy" {
		t.Errorf("with the next one, another port: %s", got)
	}
}

// TestDirectRace: forged SYNs on the very tuples that p1 is opening neither get in nor keep p1 out.
func TestDirectRace(t *testing.T) {
	l, _ := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	syn := attackNamed(t, "packet socket SYN")
	for i := range 8 {
		port := 21000 + i
		passed := l.counters("p2")[PassedDirect]
		for _, name := range []string{"p3", "r"} { // before the connection
			from := l.pods[name]
			l.run("attack", from.ns, "pod-"+name, syn, p1.ip4.String(), p2.at(8080, false).String(), from.gateway.String(), strconv.Itoa(port))
		}
		if got := l.counters("p2")[PassedDirect]; got != passed {
			t.Fatalf("a forged SYN was given to the application")
		}
		o := l.dial("p1", p2.at(8080, false), "port="+strconv.Itoa(port))
		forged := l.counters("p2")[DroppedForgedDirect]
		for _, name := range []string{"p3", "r"} { // and while its SYN is fresh
			from := l.pods[name]
			l.run("attack", from.ns, "pod-"+name, syn, p1.ip4.String(), p2.at(8080, false).String(), from.gateway.String(), strconv.Itoa(port))
		}
		if o.OK {
			eventually(t, "the forged ones are dropped", func() bool { return l.counters("p2")[DroppedForgedDirect] >= forged+2 })
		}
		if got := l.counters("p2")[PassedDirect]; got > passed+1 {
			t.Errorf("%d connections were given to the application, of one", got-passed)
		}
	}
}

// TestDirectSocketKinds: sockets of all kinds get where they want to, and are told whom they talk to.
func TestDirectSocketKinds(t *testing.T) {
	l, m := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	vip := netip.MustParseAddrPort("10.96.0.7:80")
	must(t, m.Publish(direct.VIPOf(p1.ns.Cookie(), vip), 1, []netip.AddrPort{p2.at(8080, false)}))
	for _, kind := range []string{"mapped", "mptcp", "fastopen", "bound"} {
		for what, to := range map[string]netip.AddrPort{"pod": p2.at(8080, false), "service": vip} {
			passed := l.counters("p2")[PassedDirect]
			got := l.run("kinds", p1.ns, "pod-p1", kind, to.String(), p1.ip4.String())
			if got != "ok "+to.String() {
				t.Errorf("%s to %s: %s", kind, what, got)
			}
			if n := l.counters("p2")[PassedDirect]; n != passed+1 {
				t.Errorf("%s to %s: %d direct connections", kind, what, n-passed)
			}
		}
	}
	// One socket, connected elsewhere afterwards: nothing of the direct path sticks to it.
	passed, proxied := l.counters("p2")[PassedDirect], l.counters("p1")[RedirectedOutbound]
	if got := l.run("kinds", p1.ns, "pod-p1", "again", vip.String(), l.pods["r"].at(8080, false).String()); got != "ok "+l.pods["r"].at(8080, false).String() {
		t.Errorf("connected again: %s", got)
	}
	if d, p := l.counters("p2")[PassedDirect], l.counters("p1")[RedirectedOutbound]; d != passed+1 || p != proxied+1 {
		t.Errorf("connected again: %d direct, %d proxied", d-passed, p-proxied)
	}
}
