package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
)

// An attack is one way of a root process in the pod to get TCP past the mesh.
// Each carries its own token as sequence number and payload; a packet capture
// on the remote host must not show it, while the same attack from a pod outside
// the mesh must arrive (control), where a router lets it through at all.
type attack struct {
	name    string
	v6      bool
	how     string  // raw, packet, bypass, or a socket option of the client role
	expect  Counter // the guard's reason
	control bool
	frames  func(a *packets) [][]byte // IP packets; for how=packet with frame type
	kind    uint16                    // frame type if not IP
}

var attacks = []attack{
	{name: "mark of ztunnel", how: "mark=0x539", expect: DroppedNotZtunnel, control: true},
	{name: "mark of inbound", how: "mark=0x53b", expect: DroppedNotZtunnel, control: true},
	{name: "mark bit", how: "mark=0x100", expect: DroppedNotZtunnel, control: true},
	{name: "mark of ztunnel, IPv6", v6: true, how: "mark=0x539", expect: DroppedNotZtunnel, control: true},
	{name: "bind to device", how: "dev=eth0", expect: DroppedNotZtunnel, control: true},
	{name: "bind to device, IPv6", v6: true, how: "dev=eth0", expect: DroppedNotZtunnel, control: true},
	{name: "raw socket SYN", how: "raw", expect: DroppedNotZtunnel, control: true, frames: one(tcp{syn: true})},
	{name: "raw socket data", how: "raw", expect: DroppedNotZtunnel, control: true, frames: one(tcp{ack: true, data: true})},
	{name: "raw socket SYN-ACK", how: "raw", expect: DroppedNotZtunnel, control: true, frames: one(tcp{syn: true, ack: true})},
	{name: "raw socket empty ACK", how: "raw", expect: DroppedNotZtunnel, control: true, frames: one(tcp{ack: true})},
	{name: "packet socket SYN", how: "packet", expect: DroppedNotZtunnel, control: true, frames: one(tcp{syn: true})},
	{name: "packet socket, qdisc bypass", how: "bypass", expect: DroppedNotZtunnel, control: true, frames: one(tcp{syn: true})},
	{name: "packet socket data, qdisc bypass", how: "bypass", expect: DroppedNotZtunnel, control: true, frames: one(tcp{ack: true, data: true})},
	{name: "packet socket, qdisc bypass, IPv6", v6: true, how: "bypass", expect: DroppedNotZtunnel, control: true, frames: one(tcp{syn: true})},
	{name: "foreign source", how: "bypass", expect: DroppedForeignSource, control: true, frames: one(tcp{syn: true, foreign: true})},
	{name: "IP options", how: "bypass", expect: DroppedNotZtunnel, control: true, frames: one(tcp{syn: true, options: true})},
	{name: "fragments", how: "bypass", expect: DroppedFragment, control: true, frames: fragments4},
	{name: "IPIP", how: "bypass", expect: DroppedTunnel, control: true, frames: inside4(layers.IPProtocolIPv4)},
	{name: "GRE", how: "bypass", expect: DroppedTunnel, control: true, frames: inside4(layers.IPProtocolGRE)},
	{name: "authentication header", how: "bypass", expect: DroppedTunnel, control: true, frames: inside4(layers.IPProtocolAH)},
	{name: "short header", how: "bypass", expect: DroppedMalformed, frames: patched(0, 0x44)},
	{name: "TCP offset 0", how: "bypass", expect: DroppedMalformed, frames: patched(20+12, 0)},
	{name: "VLAN tag", how: "bypass", expect: DroppedLink, frames: vlan, kind: 0x8100},
	{name: "double VLAN tag", how: "bypass", expect: DroppedLink, frames: vlan, kind: 0x88a8},
	{name: "MPLS", how: "bypass", expect: DroppedLink, frames: one(tcp{syn: true}), kind: 0x8847},
	{name: "IPv6 hop-by-hop", v6: true, how: "bypass", expect: DroppedExtension, control: true, frames: extension(0)},
	{name: "IPv6 destination options", v6: true, how: "bypass", expect: DroppedExtension, control: true, frames: extension(60)},
	{name: "IPv6 fragment header", v6: true, how: "bypass", expect: DroppedFragment, control: true, frames: extension(44)},
	{name: "IPv6 in IPv6", v6: true, how: "bypass", expect: DroppedTunnel, control: true, frames: inside6},
}

func TestAttacks(t *testing.T) {
	l := newLab(t)
	r := l.pods["r"]
	l.start("echo", r.ns, "pod-r", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	cap := l.capture(r.ns)
	for i, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			l.t = t
			if a.control {
				l.launch(a, l.pods["p3"], i)
				eventually(t, "control: the unenrolled pod's packet arrives", func() bool { return cap.saw(i) })
				cap.forget()
			}
			before := l.counters("p1")[a.expect]
			l.launch(a, l.pods["p1"], i)
			eventually(t, "counter "+a.expect.String(), func() bool { return l.counters("p1")[a.expect] > before })
			l.fence(cap, i)
			if cap.saw(i) {
				t.Errorf("it left the pod")
			}
		})
	}
	l.t = t
	if o := l.dial("p1", r.at(8080, false)); !o.OK {
		t.Errorf("honest traffic after the attacks: %+v", o)
	}
}

// TestForgedApplicationMark: the mark that leads to lo leads into ztunnel.
func TestForgedApplicationMark(t *testing.T) {
	l := newLab(t)
	l.start("echo", l.pods["r"].ns, "pod-r", nil, ":8080")
	z := l.ztunnel()
	l.open()
	l.enrol(z, "p1")
	bothFamilies(t, func(t *testing.T, v6 bool) {
		l.t = t
		before := l.counters("p1")
		opts := []string{"mark=0x53a"}
		if !v6 { // IPv4 picks no source address there
			opts = append(opts, "source="+l.pods["p1"].ip4.String())
		}
		o := l.dial("p1", l.pods["r"].at(8080, v6), opts...)
		after := l.counters("p1")
		if after[RedirectedOutbound] == before[RedirectedOutbound] {
			t.Errorf("not captured: %+v", o)
		}
	})
}

const tokenPort = 47000 // + number of the attack: destination port, and part of the token

func token(i int) []byte { return fmt.Appendf(nil, "WFT%c", '0'+i) }

func (l *lab) launch(a attack, from *labPod, i int) {
	l.t.Helper()
	to := l.pods["r"].at(tokenPort+uint16(i), a.v6)
	if a.frames == nil {
		l.run("client", from.ns, "pod-"+from.name, to.String(), a.how, "wait=300ms")
		return
	}
	l.run("attack", from.ns, "pod-"+from.name, strconv.Itoa(i), from.at(0, a.v6).Addr().String(), to.String(), from.gateway.String())
}

// attackNamed finds an attack's number.
func attackNamed(t *testing.T, name string) string {
	t.Helper()
	i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == name })
	if i < 0 {
		t.Fatalf("no attack %q", name)
	}
	return strconv.Itoa(i)
}

// fence sends a datagram from p1 after the attack: once it has arrived, so
// would everything sent before it.
func (l *lab) fence(c *capture, i int) {
	l.t.Helper()
	mark := fmt.Appendf(nil, "fence %d", i)
	eventually(l.t, "the fence arrives", func() bool {
		inside(l.t, l.pods["p1"].ns, func() error {
			u, err := net.Dial("udp", l.pods["r"].at(9, false).String())
			if err != nil {
				return err
			}
			defer u.Close()
			_, err = u.Write(mark)
			return err
		})
		return c.contains(mark)
	})
}

// capture records every frame that a namespace's eth0 receives.
type capture struct {
	mu     sync.Mutex
	frames [][]byte
}

func (l *lab) capture(ns *netns.NS) *capture { return l.captureOn(ns, "eth0", false) }

// captureOn also records what the interface sends, if both.
func (l *lab) captureOn(ns *netns.NS, device string, both bool) *capture {
	l.t.Helper()
	c := &capture{}
	var fd int
	inside(l.t, ns, func() (err error) {
		e, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: e.Index})
	})
	must(l.t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50000}))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 65536)
		for {
			n, from, err := unix.Recvfrom(fd, b, 0)
			if sa, ok := from.(*unix.SockaddrLinklayer); err == nil && ok && (both || sa.Pkttype != unix.PACKET_OUTGOING) {
				c.mu.Lock()
				c.frames = append(c.frames, slices.Clone(b[:n]))
				c.mu.Unlock()
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	l.t.Cleanup(func() { close(stop); <-done; unix.Close(fd) })
	return c
}

// saw tells whether attack i left a trace: its token, or TCP to its port.
func (c *capture) saw(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range c.frames {
		if bytes.Contains(f, token(i)) {
			return true
		}
		p := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy)
		if t, ok := p.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && int(t.DstPort) == tokenPort+i {
			return true
		}
	}
	return false
}

// to tells whether there was TCP to a port.
func (c *capture) to(port uint16) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.frames, func(f []byte) bool {
		t, ok := gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy).Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && uint16(t.DstPort) == port
	})
}

func (c *capture) contains(b []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.frames, func(f []byte) bool { return bytes.Contains(f, b) })
}

func (c *capture) forget() {
	c.mu.Lock()
	c.frames = nil
	c.mu.Unlock()
}

// roleAttack: NUMBER SOURCE DST GATEWAY-MAC [SOURCE-PORT]
func roleAttack(args []string) error {
	i, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	gw, err := net.ParseMAC(args[3])
	if err != nil {
		return err
	}
	to := netip.MustParseAddrPort(args[2])
	a, sport := attacks[i], 33333
	if len(args) > 4 {
		if sport, err = strconv.Atoi(args[4]); err != nil {
			return err
		}
	}
	for _, p := range a.frames(&packets{i: i, src: netip.MustParseAddr(args[1]), dst: to.Addr(), port: to.Port(), sport: uint16(sport)}) {
		if a.how == "raw" {
			err = errors.Join(err, sendRaw(p, to.Addr()))
		} else {
			err = errors.Join(err, sendFrame(p, gw, a))
		}
	}
	if err == nil {
		fmt.Fprintln(os.Stdout, "sent")
	}
	return err
}

func sendRaw(p []byte, to netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, MarkZtunnel); err != nil {
		return err
	}
	return unix.Sendto(fd, p, 0, &unix.SockaddrInet4{Addr: to.As4()})
}

func sendFrame(p []byte, gw net.HardwareAddr, a attack) error {
	e, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if a.how == "bypass" {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
			return err
		}
	}
	kind := uint16(0x0800)
	if a.v6 {
		kind = 0x86dd
	}
	if a.kind != 0 {
		kind = a.kind
	}
	frame := append(append(slices.Clone(gw), e.HardwareAddr...), byte(kind>>8), byte(kind))
	return unix.Sendto(fd, append(frame, p...), 0, &unix.SockaddrLinklayer{Ifindex: e.Index, Halen: 6})
}
