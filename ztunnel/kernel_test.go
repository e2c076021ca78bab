package ztunnel_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/state"
)

// kernelPods are the addresses of the pods that are enrolled.
var kernelPods = map[string][]string{"front-1": {"10.78.0.1", "fd78::1"}, "cart-1": {"10.78.0.2", "fd78::2"}}

// kernelMesh is front and cart as real pods on one node, served by one ztunnel, and a host outside.
func kernelMesh(t testing.TB) (*kernelLab, *node) {
	t.Helper()
	l := newKernelLab(t)
	return l, l.mesh()
}

func (l *kernelLab) mesh() *node {
	t := l.t
	t.Helper()
	a, err := ca.OpenAuthority(ca.AuthorityOptions{Dir: t.TempDir(), Create: true})
	must(t, err)
	l.authority = a
	for name, ips := range kernelPods {
		l.addPod(name, ips[0], ips[1])
	}
	outside := l.addPod("out", "10.78.9.9", "fd78:9::9")
	n := l.ztunnel()
	for _, at := range []string{"0.0.0.0:8080", "[::]:8080"} {
		l.whoami(l.pods["cart-1"], at)
		l.whoami(outside, at)
	}
	return n
}

// ztunnel starts one that has the configuration and serves the pods, and captures them for it.
func (l *kernelLab) ztunnel() *node {
	t := l.t
	n := &node{certs: ca.NewManager(ca.ManagerOptions{Issuer: issuer{l.authority}}), log: &logBuffer{}}
	n.Ztunnel = ztunnel.New(ztunnel.Options{Node: "n1", Certificates: n.certs, Shards: shards, Direct: l.takeMaps, AccessLog: telemetry.NewAccessLog(n.log, telemetry.FormatJSON),
		Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	t.Cleanup(func() {
		gone, stop := context.WithCancel(context.Background())
		stop()
		n.Drain(gone)
		cancel()
		<-done
		n.certs.Close()
	})
	var d state.Delta
	for name, ips := range kernelPods {
		d.Workloads = append(d.Workloads, workload("n1", name, ips...))
		if name == "cart-1" {
			svc := service("cart", "10.96.0.2", 8080, d.Workloads[len(d.Workloads)-1])
			svc.Addresses = append(svc.Addresses, netip.MustParseAddr("fd00:96::2"))
			d.Services = append(d.Services, svc)
		}
	}
	n.State.Apply(d)
	n.State.SetSynced()
	for name := range kernelPods {
		f, err := l.pods[name].File()
		must(t, err)
		must(t, n.Pods.Add("uid-"+name, inpod.Info{Name: name, Namespace: "shop", ServiceAccount: name[:len(name)-2]}, f))
		f.Close()
	}
	l.captureAll()
	return n
}

func (l *kernelLab) captureAll() {
	for name, ips := range kernelPods {
		l.capture(name, netip.MustParseAddr(ips[0]), netip.MustParseAddr(ips[1]))
	}
}

// hello dials from a pod and reads what whoami says.
func (l *kernelLab) hello(from, dst string) (*net.TCPConn, error) {
	c, err := l.pods[from].DialTCP(l.t.Context(), netip.MustParseAddrPort(dst), netns.DialOptions{Timeout: 5 * time.Second})
	if err != nil {
		return nil, err
	}
	l.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(15 * time.Second))
	b := make([]byte, 1)
	for b[0] != '\n' {
		if _, err := io.ReadFull(c, b); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// A ztunnel replaces another: both listen for a while, then the old one drains. What lives goes on.
func TestReplacement(t *testing.T) {
	l, old := kernelMesh(t)
	living, err := l.hello("front-1", "10.96.0.2:80")
	must(t, err)
	next := l.ztunnel() // while the old one still listens
	drain, over := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); old.Drain(drain) }()
	until(t, "only the new one listens", func() bool { return old.Ready() != nil })
	until(t, "connections through the new one", func() bool {
		l.captureAll() // the agent's part, once the old listeners are gone
		c, err := l.hello("front-1", "10.96.0.2:80")
		if err == nil {
			c.Close()
		}
		return err == nil && next.Flows.Len() > 0
	})
	if got, err := say(living, "still here"); err != nil || got != "still here" {
		t.Errorf("a living connection was cut by the replacement: %q %v", got, err)
	}
	living.Close()
	<-done // it was the last
	over()
	if n := old.Flows.Len(); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

// TestInTheKernel carries connections of real pods: namespaces, veths, eBPF redirection, transparent
// sockets, and the ztunnel that serves both pods.
func TestInTheKernel(t *testing.T) {
	l, n := kernelMesh(t)
	front, cartNS, outside := l.pods["front-1"], l.pods["cart-1"], l.pods["out"]
	for _, c := range []struct {
		name     string
		from     *netns.NS
		dst, saw string
		record   map[string]any
	}{
		{"VIP", front, "10.96.0.2:80", "10.78.0.1", map[string]any{"dst_dialled": "10.96.0.2:80", "security": "mutual_tls"}},
		{"VIP, IPv6", front, "[fd00:96::2]:80", "fd78::1", map[string]any{"dst_dialled": "[fd00:96::2]:80", "security": "mutual_tls"}},
		{"pod", front, "10.78.0.2:8080", "10.78.0.1", map[string]any{"dst_addr": "10.78.0.2:8080", "security": "mutual_tls"}},
		{"pod, IPv6", front, "[fd78::2]:8080", "fd78::1", map[string]any{"dst_addr": "[fd78::2]:8080", "security": "mutual_tls"}},
		{"outside", front, "10.78.9.9:8080", "10.78.0.1", map[string]any{"dst_addr": "10.78.9.9:8080", "security": "none"}},
		{"from outside", outside, "10.78.0.2:8080", "10.78.9.9", map[string]any{"direction": "inbound-plaintext", "security": "none"}},
		{"from outside, IPv6", outside, "[fd78::2]:8080", "fd78:9::9", map[string]any{"dst_addr": "[fd78::2]:8080", "security": "none"}},
		{"hairpin, IPv6", cartNS, "[fd00:96::2]:80", "fd78::2", map[string]any{"dst_dialled": "[fd00:96::2]:80", "src_workload": "shop/cart-1"}},
		{"hairpin", cartNS, "10.96.0.2:80", "10.78.0.2", map[string]any{"src_workload": "shop/cart-1", "direction": "outbound", "security": "none"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := c.from.DialTCP(t.Context(), netip.MustParseAddrPort(c.dst), netns.DialOptions{Timeout: 5 * time.Second})
			must(t, err)
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			r := bufio.NewReader(conn)
			line, err := r.ReadString('\n')
			if err != nil || line != c.saw+"\n" {
				t.Fatalf("the application saw %q (%v), want %s", line, err, c.saw)
			}
			conn.Write([]byte("hello"))
			conn.CloseWrite()
			if rest, err := io.ReadAll(r); err != nil || string(rest) != "hello" {
				t.Errorf("%q %v", rest, err)
			}
			c.record["flags"] = "-"
			n.record(t, c.record)
		})
	}
	t.Run("refused", func(t *testing.T) {
		for _, dst := range []string{"10.78.0.2:81", "[fd78::2]:81", "10.96.0.2:81", "10.78.9.9:81"} {
			conn, err := front.DialTCP(t.Context(), netip.MustParseAddrPort(dst), netns.DialOptions{Timeout: 5 * time.Second})
			if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) { // by whoever is first to notice
				continue
			}
			must(t, err)
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			refused(t, conn, 2*time.Second)
			conn.Close()
		}
	})
	t.Run("DNS", func(t *testing.T) { kernelDNS(t, front) })
	t.Run("strict", func(t *testing.T) {
		plain, err := outside.DialTCP(t.Context(), netip.MustParseAddrPort("10.78.0.2:8080"), netns.DialOptions{Timeout: 5 * time.Second})
		must(t, err)
		defer plain.Close()
		plain.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := bufio.NewReader(plain).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		n.State.Apply(state.Delta{Policies: []*model.Policy{strict()}})
		refused(t, plain, time.Second)
	})
}

// kernelDNS asks name servers that do not exist; the answers come from their addresses all the same.
func kernelDNS(t *testing.T, ns *netns.NS) {
	for server, want := range map[string]string{"10.96.0.10:53": "10.96.0.2", "[fd00:96::10]:53": "10.96.0.2"} {
		to := netip.MustParseAddrPort(server)
		any := netip.IPv4Unspecified()
		if to.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		u, err := ns.ListenUDP(netns.ListenOptions{Addr: netip.AddrPortFrom(any, 0)})
		must(t, err)
		defer u.Close()
		u.SetDeadline(time.Now().Add(5 * time.Second))
		q, err := new(dns.Msg).SetQuestion("cart.shop.svc.cluster.local.", dns.TypeA).Pack()
		must(t, err)
		if _, err := u.WriteToUDPAddrPort(q, to); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1500)
		n, from, err := u.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatalf("%s: %v", server, err)
		}
		m := new(dns.Msg)
		if m.Unpack(b[:n]) != nil || len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want {
			t.Errorf("%s: %v", server, m)
		}
		if netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != to {
			t.Errorf("asked %s, answered by %s", to, from)
		}
	}
}

// One connection a round: dialled, tunnelled, answered, closed, all in this process.
func BenchmarkConnection(b *testing.B) {
	l, _ := kernelMesh(b)
	front := l.pods["front-1"]
	b.ReportAllocs()
	for b.Loop() {
		c, err := front.DialTCP(b.Context(), netip.MustParseAddrPort("10.96.0.2:80"), netns.DialOptions{Timeout: 5 * time.Second})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			b.Fatal(err)
		}
		c.Close()
	}
}
