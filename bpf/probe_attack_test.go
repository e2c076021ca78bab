package bpf

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// Attackers of the probes' way in. They are root on the node's network, as a privileged pod with hostNetwork
// is, see every frame of the pod's veth and put frames into it below all of our programs on the node; they are
// not in the kubelet's cgroup.

// tap records what passes the host's end of a pod's veth, both ways. Frames of inject are not among them.
func (l *lab) tap(pod string) *capture {
	l.t.Helper()
	return l.captureOn(l.node, "h"+pod, true)
}

// segments are those of TCP that wanted, oldest first.
func (c *capture) segments(wanted func(*layers.TCP) bool) (out []gopacket.Packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.Default)
		if t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && wanted(t) {
			out = append(out, p)
		}
	}
	return out
}

func tcpOf(p gopacket.Packet) *layers.TCP { return p.Layer(layers.LayerTypeTCP).(*layers.TCP) }

// last waits for a segment and returns the latest.
func (c *capture) last(t *testing.T, what string, wanted func(*layers.TCP) bool) gopacket.Packet {
	t.Helper()
	var found []gopacket.Packet
	eventually(t, what, func() bool { found = c.segments(wanted); return len(found) > 0 })
	return found[len(found)-1]
}

// changed is the frame with its checksum, which the kernel leaves to the device, and another TCP header and payload.
func changed(p gopacket.Packet, change func(*layers.TCP), payload string) []byte {
	t := *tcpOf(p)
	change(&t)
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	network := p.NetworkLayer()
	_ = t.SetNetworkLayerForChecksum(network)
	return serialize(eth, network.(gopacket.SerializableLayer), &t, gopacket.Payload(payload))
}

// inject puts a frame into the pod's veth from the node, without passing tcx.
func (l *lab) inject(pod string, frame []byte) {
	l.t.Helper()
	inside(l.t, l.node, func() error {
		e, err := net.InterfaceByName("h" + pod)
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			return err
		}
		return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: e.Index, Halen: 6})
	})
}

// probed makes a lab with an application that the kubelet may probe, and a tap.
func probed(t *testing.T, v6 bool) (l *lab, tap *capture, toApp func(*layers.TCP) bool) {
	l = newLab(t)
	l.start("echo", l.pods["p1"].ns, "pod-p1", nil, ":8080")
	l.open()
	l.enrol(nil, "p1")
	return l, l.tap("p1"), func(t *layers.TCP) bool { return t.DstPort == 8080 }
}

// TestProbeReplay: a SYN that the kubelet sent opens nothing when somebody else sends it again.
func TestProbeReplay(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l, tap, toApp := probed(t, v6)
		if o := l.dialFrom(l.node, "kubelet", l.pods["p1"].at(8080, v6)); !o.OK {
			t.Fatalf("probe: %+v", o)
		}
		tap.last(t, "the application has closed", func(t *layers.TCP) bool { return t.SrcPort == 8080 && t.FIN })
		syn := tap.last(t, "the kubelet's SYN", func(t *layers.TCP) bool { return toApp(t) && t.SYN })
		before := l.counters("p1")
		refused := before[RefusedNoListener]
		for what, frame := range map[string][]byte{
			"the very frame":         changed(syn, func(*layers.TCP) {}, ""),
			"another number":         changed(syn, func(t *layers.TCP) { t.Seq += 1 << 20 }, ""),
			"data in the SYN":        changed(syn, func(*layers.TCP) {}, "GET / HTTP/1.0\r\n\r\n"),
			"with a flag of no kind": changed(syn, func(t *layers.TCP) { t.PSH, t.URG = true, true }, ""),
		} {
			l.inject("p1", frame)
			refused++
			eventually(t, what+" is taken for plaintext", func() bool { return l.counters("p1")[RefusedNoListener] >= refused })
		}
		if after := l.counters("p1"); after[PassedProbe] != before[PassedProbe] {
			t.Errorf("%d forged SYNs passed as probes", after[PassedProbe]-before[PassedProbe])
		}
	})
}

// TestProbeRace: forged SYNs of the very tuple come while the kubelet opens it; only the kubelet's own number
// passes, and exactly once.
func TestProbeRace(t *testing.T) {
	l, tap, toApp := probed(t, false)
	to := l.pods["p1"].at(8080, false)
	if o := l.dialFrom(l.node, "kubelet", to, "port=41234"); !o.OK {
		t.Fatalf("probe: %+v", o)
	}
	syn := tap.last(t, "the kubelet's SYN", func(t *layers.TCP) bool { return toApp(t) && t.SYN })
	forged := changed(syn, func(t *layers.TCP) { t.Seq += 1 << 20 }, "")
	done, flooded := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(flooded)
		for {
			select {
			case <-done:
				return
			default:
				l.inject("p1", forged)
			}
		}
	}()
	const probes = 20
	before := l.counters("p1")[PassedProbe]
	good := 0
	for i := range probes {
		if o := l.dialFrom(l.node, "kubelet", to, "port="+strconv.Itoa(41235+i)); o.OK {
			good++
		}
		if o := l.dialFrom(l.node, "kubelet", to, "port=41234", "wait=300ms"); o.OK { // the tuple under attack
			good++
		}
	}
	close(done)
	<-flooded
	passed := l.counters("p1")[PassedProbe] - before
	if good < probes {
		t.Errorf("only %d probes of %d were served", good, 2*probes)
	}
	if int(passed) != good {
		t.Errorf("%d connections passed as probes, %d were the kubelet's", passed, good)
	}
}

// TestProbeInjection: nobody speaks in the kubelet's name on a connection that it has open.
func TestProbeInjection(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l, tap, _ := probed(t, v6)
		l.start("hold", l.node, "kubelet", nil, l.pods["p1"].at(8080, v6).String())
		out := tap.last(t, "the kubelet's data", func(t *layers.TCP) bool { return t.DstPort == 8080 && len(t.Payload) > 0 })
		reply := tap.last(t, "the answer", func(t *layers.TCP) bool { return t.SrcPort == 8080 && len(t.Payload) > 0 })
		const words = "injected words\n"
		before := l.counters("p1")[DroppedForgedProbe]
		l.inject("p1", changed(out, func(t *layers.TCP) {
			t.Seq, t.Ack = tcpOf(reply).Ack, tcpOf(reply).Seq+uint32(len(tcpOf(reply).Payload))
		}, words))
		eventually(t, "the forged segment is dropped", func() bool { return l.counters("p1")[DroppedForgedProbe] > before })
		// Half of it is what the kubelet said already.
		l.inject("p1", changed(out, func(t *layers.TCP) {}, "hello\n"+words))
		eventually(t, "what is glued to true words is dropped", func() bool { return l.counters("p1")[DroppedForgedProbe] > before+1 })
		if tap.contains([]byte(strings.TrimSpace(words))) {
			t.Error("the application answered forged words")
		}
	})
}

// TestProbeOfManyBytes: honest probes may send what they like, in packets of any size.
func TestProbeOfManyBytes(t *testing.T) {
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l, _, _ := probed(t, v6)
		if got := l.run("burst", l.node, "kubelet", l.pods["p1"].at(8080, v6).String(), "20000"); got != "20000" {
			t.Errorf("%s lines of 20000 were answered", got)
		}
		if n := l.counters("p1")[DroppedForgedProbe]; n > 0 {
			t.Errorf("%d of the kubelet's segments were dropped", n)
		}
	})
}

// TestProbePorts: the kubelet, too, reaches only what the pod declares; anybody who may make pods can have it
// connect to any address.
func TestProbePorts(t *testing.T) {
	l := newLab(t)
	p1 := l.pods["p1"]
	l.start("echo", p1.ns, "pod-p1", nil, ":8080", ":8081")
	l.open()
	l.enrol(nil, "p1")
	if o := l.dialFrom(l.node, "kubelet", p1.at(8080, false)); !o.OK {
		t.Errorf("declared port: %+v", o)
	}
	before := l.counters("p1")
	if o := l.dialFrom(l.node, "kubelet", p1.at(8081, false), "wait=300ms"); o.OK {
		t.Errorf("port that no probe is declared for: %+v", o)
	}
	if after := l.counters("p1"); after[PassedProbe] != before[PassedProbe] || after[RefusedNoListener] == before[RefusedNoListener] {
		t.Error("it was not taken for plaintext")
	}
	// A successor keeps to them.
	must(t, l.r.Close())
	l.open()
	for port, want := range map[uint16]bool{8080: true, 8081: false} {
		if o := l.dialFrom(l.node, "kubelet", p1.at(port, false), "wait=300ms"); o.OK != want {
			t.Errorf("port %d after a restart: %+v", port, o)
		}
	}
	s := p1.spec()
	s.ProbePorts = make([]uint16, maxProbePorts+1)
	for i := range s.ProbePorts {
		s.ProbePorts[i] = uint16(8000 + i)
	}
	must(t, l.r.Enrol(s))
	if o := l.dialFrom(l.node, "kubelet", p1.at(8081, false), "wait=300ms"); o.OK {
		t.Log("8081 is among the first ports now")
	}
}

// roleBurst: DST N writes N lines as fast as it can and prints how many answers came.
func roleBurst(args []string) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", args[0])
	if err != nil {
		return err
	}
	line := append(slices.Repeat([]byte("x"), 100), '\n')
	go func() { _, _ = c.Write(slices.Repeat(line, n)) }()
	got := 0
	for s := bufio.NewScanner(c); got < n && s.Scan(); {
		got++
	}
	fmt.Println(got)
	return nil
}
