package bpf

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/direct"
)

// directLab is a lab whose pods p1 and p2 may talk directly, p1 to ports 8080 and 8090 of p2, as a ztunnel has said.
func directLab(t *testing.T) (*lab, *direct.Maps) {
	t.Helper()
	l := newLab(t)
	for _, name := range []string{"p1", "p2", "r"} {
		l.start("echo", l.pods[name].ns, "pod-"+name, nil, ":8080", ":8081", ":9000")
	}
	z := l.ztunnel()
	l.open()
	l.direct = true
	l.enrol(z, "p1", "p2")
	m := l.maps()
	must(t, m.Renew(time.Minute))
	for _, port := range []uint16{8080, 8090} {
		l.permit(m, "p1", "p2", port)
	}
	return l, m
}

// maps takes the maps as a ztunnel gets them.
func (l *lab) maps() *direct.Maps {
	l.t.Helper()
	maps := l.r.DirectMaps()
	for name, m := range maps {
		c, err := m.Clone()
		must(l.t, err)
		maps[name] = c
	}
	m, err := direct.Open(maps)
	must(l.t, err)
	l.t.Cleanup(func() { m.Close() })
	return m
}

func (l *lab) permit(m *direct.Maps, from, to string, port uint16) {
	l.t.Helper()
	for _, v6 := range []bool{false, true} {
		must(l.t, m.Permit(direct.PairOf(l.pods[from].ns.Cookie(), l.pods[to].ns.Cookie(), l.pods[to].at(port, v6))))
	}
}

// path tells how a connection from p1 went.
func (l *lab) path(to netip.AddrPort, args ...string) string {
	l.t.Helper()
	p1, p2 := l.counters("p1"), l.counters("p2")
	o := l.dial("p1", to, args...)
	d1, d2 := l.counters("p1"), l.counters("p2")
	switch {
	case !o.OK:
		return "refused: " + o.Err
	case d2[PassedDirect] == p2[PassedDirect]+1 && d1[RedirectedOutbound] == p1[RedirectedOutbound] && d2[RedirectedHBONE] == p2[RedirectedHBONE]:
		return "direct"
	case d1[RedirectedOutbound] == p1[RedirectedOutbound]+1 && d2[PassedDirect] == p2[PassedDirect]:
		return "proxy"
	}
	return "neither"
}

// TestDirect: what is permitted goes straight, with its addresses; everything else takes the proxy's path.
func TestDirect(t *testing.T) {
	l, m := directLab(t)
	p2 := l.pods["p2"]
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		for what, c := range map[string]struct {
			to   netip.AddrPort
			want string
		}{
			"permitted port": {p2.at(8080, v6), "direct"},
			"other port":     {p2.at(8081, v6), "proxy"},
			"outside":        {l.pods["r"].at(8080, v6), "proxy"},
		} {
			if got := l.path(c.to); got != c.want {
				t.Errorf("%s: %s, want %s", what, got, c.want)
			}
		}
		if o := l.dial("p1", p2.at(8080, v6)); o.Saw == "" || netip.MustParseAddrPort(o.Saw).Addr() != l.pods["p1"].at(0, v6).Addr() {
			t.Errorf("the application saw %+v", o)
		}
	})
	l.t = t
	if got := l.path(p2.at(8080, false), "source=127.0.0.1"); got == "direct" {
		t.Errorf("bound to loopback: %s", got)
	}
	must(t, m.Forbid(direct.PairOf(l.pods["p1"].ns.Cookie(), p2.ns.Cookie(), p2.at(8080, false))))
	if got := l.path(p2.at(8080, false)); got != "proxy" {
		t.Errorf("forbidden: %s", got)
	}
	if got := l.path(p2.at(8080, true)); got != "direct" {
		t.Errorf("IPv6, still permitted: %s", got)
	}
	must(t, m.Renew(0))
	if got := l.path(p2.at(8080, true)); got != "proxy" {
		t.Errorf("the lease is over: %s", got)
	}
}

// TestDirectEvents: each direct connection is told of, with its bytes.
func TestDirectEvents(t *testing.T) {
	l, m := directLab(t)
	to := l.pods["p2"].at(8080, false)
	var got []direct.Event
	read := func() { must(t, m.Read(func(e direct.Event) { got = append(got, e) })) }
	if p := l.path(to); p != "direct" {
		t.Fatal(p)
	}
	if p := l.path(l.pods["p2"].at(8081, false)); p != "proxy" {
		t.Fatal(p)
	}
	if p := l.path(l.pods["p2"].at(8090, false)); p == "direct" || p == "proxy" {
		t.Fatalf("nobody listens: %s", p)
	}
	eventually(t, "three events", func() bool { read(); return len(got) >= 3 })
	if len(got) != 3 || got[0].Kind != direct.Opened || got[1].Kind != direct.Closed || got[2].Kind != direct.Failed || got[0].Socket != got[1].Socket {
		t.Fatalf("events %+v", got)
	}
	e := got[1]
	if e.Remote != to || e.Local.Addr() != l.pods["p1"].ip4 || e.NS != l.pods["p1"].ns.Cookie() || e.Sent != uint64(len("hello\n")) || e.Received < 20 {
		t.Errorf("closed: %+v", e)
	}
}

// TestDirectService: a service is drawn in the kernel, the application is told that it talks to the service, and what
// is not drawn takes the proxy's path.
func TestDirectService(t *testing.T) {
	l, m := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		vip := l.pods["r"].at(7, v6) // where the proxy is refused at once
		key := direct.VIPOf(p1.ns.Cookie(), vip)
		must(t, m.Publish(key, 1, []netip.AddrPort{p2.at(8080, v6)}))
		must(t, m.Read(func(direct.Event) {}))
		if got := l.path(vip); got != "direct" {
			t.Errorf("published: %s", got)
		}
		if o := l.dial("p1", vip); o.Via != p2.at(8080, v6).String() || o.Peer != vip.String() {
			t.Errorf("talks to %s and is told %s", o.Via, o.Peer)
		}
		if o := l.dial("p1", p2.at(8080, v6)); o.Peer != p2.at(8080, v6).String() {
			t.Errorf("the pod itself: told %s", o.Peer)
		}
		var dialled []netip.AddrPort
		eventually(t, "events", func() bool {
			must(t, m.Read(func(e direct.Event) { dialled = append(dialled, e.Dialled) }))
			return len(dialled) >= 6
		})
		if dialled[0] != vip || dialled[1] != vip || dialled[4].IsValid() {
			t.Errorf("dialled %v", dialled)
		}
		// One of two, of which the other is the proxy's.
		must(t, m.Publish(key, 2, []netip.AddrPort{p2.at(8080, v6)}))
		paths := map[string]int{}
		for range 24 {
			p1, p2 := l.counters("p1"), l.counters("p2")
			l.dial("p1", vip)
			switch {
			case l.counters("p2")[PassedDirect] > p2[PassedDirect]:
				paths["direct"]++
			case l.counters("p1")[RedirectedOutbound] > p1[RedirectedOutbound]:
				paths["proxy"]++
			}
		}
		if paths["direct"] == 0 || paths["proxy"] == 0 || paths["direct"]+paths["proxy"] != 24 {
			t.Errorf("one of two: %v", paths)
		}
		// An endpoint to which no way is open.
		must(t, m.Publish(key, 1, []netip.AddrPort{p2.at(8081, v6)}))
		before := l.counters("p1")[RedirectedOutbound]
		l.dial("p1", vip)
		if l.counters("p1")[RedirectedOutbound] != before+1 {
			t.Error("a way that is not open was taken")
		}
		must(t, m.Unpublish(key))
		before = l.counters("p1")[RedirectedOutbound]
		l.dial("p1", vip)
		if l.counters("p1")[RedirectedOutbound] != before+1 {
			t.Error("not published any more, and not proxied")
		}
	})
}

// TestDirectHandOver: packets go from veth to veth, pods behind a bridge may talk directly, and a SYN that was not
// handed over is nobody's.
func TestDirectHandOver(t *testing.T) {
	l := newLab(t)
	l.hand = true
	l.bridge("b1", "10.78.0.11", "fd78::11")
	for _, name := range []string{"p2", "b1"} {
		l.start("echo", l.pods[name].ns, "pod-"+name, nil, ":8080")
	}
	z := l.ztunnel()
	l.open()
	l.direct = true
	l.enrol(z, "p1", "p2")
	l.enrol(nil, "b1")
	m := l.maps()
	must(t, m.Renew(time.Minute))
	l.permit(m, "p1", "p2", 8080)
	l.permit(m, "p1", "b1", 8080)
	node := l.captureOn(l.node, "hp2", true)
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		if got := l.path(l.pods["p2"].at(8080, v6)); got != "direct" {
			t.Errorf("to p2: %s", got)
		}
	})
	l.t = t
	before := l.counters("b1")[PassedDirect]
	if o := l.dial("p1", l.pods["b1"].at(8080, false)); !o.OK || l.counters("b1")[PassedDirect] != before+1 {
		t.Errorf("to a pod behind a bridge: %+v", o)
	}
	if node.to(8080) {
		t.Error("packets passed the host's end of the server's veth on their way to it")
	}
	// A pod whose firewall is to be asked: nothing is handed to it, nor by it.
	l.hand = false
	l.enrol(z, "p2")
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		if got := l.path(l.pods["p2"].at(8080, v6)); got != "direct" {
			t.Errorf("to p2, forwarded: %s", got)
		}
	})
	l.t = t
	eventually(t, "the node to forward it", func() bool { return node.to(8080) })
	l.hand = true
	l.enrol(z, "p2")
	// The very SYN, but not handed over: p3 repeats what p1 sends. Registered by hand, for it cannot be guessed.
	p1, p2, p3 := l.pods["p1"], l.pods["p2"], l.pods["p3"]
	syn, err := strconv.Atoi(attackNamed(t, "packet socket SYN"))
	must(t, err)
	key := podOpening{From: p1.ns.Cookie(), To: p2.ns.Cookie(), Sport: 33333, Dport: 8080, Family: 2}
	must(t, l.r.open.Put(key, podOpened{Time: uint64(direct.Now()), Seq: binary.BigEndian.Uint32(token(syn)), Handed: 1}))
	dropped, passed := l.counters("p2")[DroppedForgedDirect], l.counters("p2")[PassedDirect]
	l.run("attack", p3.ns, "pod-p3", attackNamed(t, "packet socket SYN"), p1.ip4.String(), p2.at(8080, false).String(), p3.gateway.String())
	eventually(t, "dropped", func() bool { return l.counters("p2")[DroppedForgedDirect] > dropped })
	if l.counters("p2")[PassedDirect] != passed {
		t.Error("it was given to the application")
	}
}

// TestDirectSockets: a direct connection is known by its mark, tells what it has moved, and can be ended at both ends.
func TestDirectSockets(t *testing.T) {
	l, _ := directLab(t)
	p1, p2 := l.pods["p1"], l.pods["p2"]
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		h := l.start("hold", p1.ns, "pod-p1", nil, p2.at(8080, v6).String())
		list, err := p1.ns.ListMarked(0x53c)
		must(t, err)
		if len(list) != 1 || list[0].Remote != p2.at(8080, v6) || list[0].Acked < uint64(len("hello\n")) || list[0].Received < 10 {
			t.Fatalf("sockets %+v", list)
		}
		server, err := p2.ns.DestroyMarked(MarkInbound, func(_, remote netip.AddrPort) bool { return remote == list[0].Local })
		if err != nil || server != 1 {
			t.Errorf("the server's end: %d %v", server, err)
		}
		must(t, p1.ns.DestroyConn(list[0].Local, list[0].Remote))
		if line, _ := h.out.ReadString('\n'); !strings.Contains(line, "connection abort") && !strings.Contains(line, "connection reset") {
			t.Errorf("the client's end: %q", line)
		}
		must(t, p1.ns.DestroyConn(list[0].Local, list[0].Remote)) // gone already
	})
}

// TestDirectLayout: pkg/direct sees the maps as the programs do.
func TestDirectLayout(t *testing.T) {
	for what, c := range map[string][2]any{
		"pair":  {nodePair{From: 1, To: 2, Port: 3, Family: 4}, direct.Pair{From: 1, To: 2, Port: 3, Family: 4}},
		"ident": {nodeIdent{Ns: 1, Ifindex: 2}, direct.Ident{NS: 1, Ifindex: 2}},
	} {
		var kernel, ours bytes.Buffer
		must(t, binary.Write(&kernel, binary.NativeEndian, c[0]))
		must(t, binary.Write(&ours, binary.NativeEndian, c[1]))
		if !bytes.Equal(kernel.Bytes(), ours.Bytes()) {
			t.Errorf("%s: %x, in the kernel %x", what, ours.Bytes(), kernel.Bytes())
		}
	}
	if got := binary.Size(nodeEvent{}); got != 96 {
		t.Errorf("an event has %d bytes: see pkg/direct/event.go", got)
	}
}
