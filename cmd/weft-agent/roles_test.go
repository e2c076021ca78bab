package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"errors"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/netns"
	"github.com/weftmesh/weft/pkg/zds"
)

// Programs of the test are this binary again, started in a namespace and a cgroup of the node: the agent
// itself, a ztunnel without TLS, applications and their clients.
var roles = map[string]func(args []string) error{
	"agent":   roleAgent,
	"ztunnel": roleZtunnel,
	"echo":    roleEcho,
	"client":  roleClient,
	"many":    roleMany,
}

const roleEnv = "WFT_AGENT_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleEnv)
	if role == "" {
		os.Exit(m.Run())
	}
	go func() { // the test that started it is gone, however it went
		io.Copy(io.Discard, os.Stdin)
		os.Exit(2)
	}()
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// roleAgent is the program with its flags.
func roleAgent(args []string) error {
	os.Args = append([]string{"weft-agent"}, args...)
	main()
	return nil
}

// roleZtunnel: NAME SOCKET. It says its name on every connection that it carries, then relays.
func roleZtunnel(args []string) error {
	z := &standIn{name: args[0], pods: map[string]*standInPod{}}
	fmt.Println("ready")
	return zds.NewProxy(zds.ProxyOptions{Path: args[1], Handler: z, RetryMax: 50 * time.Millisecond}).Run(context.Background())
}

type standIn struct {
	name string
	mu   sync.Mutex
	pods map[string]*standInPod
	told map[string]bool
}

type standInPod struct {
	ns    *netns.NS
	close []io.Closer
}

func (z *standIn) Connected() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.told = map[string]bool{}
}

func (z *standIn) Add(uid string, w zds.WorkloadInfo, f *os.File) error {
	ns, err := netns.FromFile(f)
	if err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.told[uid] = true
	if old := z.pods[uid]; old != nil && old.ns.Cookie() == ns.Cookie() {
		return ns.Close()
	}
	z.remove(uid)
	p := &standInPod{ns: ns}
	z.pods[uid] = p
	for _, ip := range []string{"127.0.0.1", "::1"} {
		for port, handle := range map[uint16]func(*netns.NS, net.Conn) error{
			bpf.PortOutbound: z.outbound, bpf.PortInbound: z.inbound, bpf.PortHBONE: z.inbound} {
			if err := p.listen(netip.AddrPortFrom(netip.MustParseAddr(ip), port), handle); err != nil {
				z.remove(uid)
				return err
			}
		}
		u, err := ns.ListenPacket(netns.ListenOptions{Addr: netip.AddrPortFrom(netip.MustParseAddr(ip), bpf.PortDNS), ReusePort: true})
		if err != nil {
			z.remove(uid)
			return err
		}
		p.close = append(p.close, u)
	}
	return nil
}

func (p *standInPod) listen(at netip.AddrPort, handle func(*netns.NS, net.Conn) error) error {
	o := netns.ListenOptions{Addr: at, Transparent: true, ReusePort: true}
	if at.Port() != bpf.PortOutbound {
		o.Mark = bpf.MarkZtunnel
	}
	l, err := p.ns.ListenTCP(o)
	if err != nil {
		return err
	}
	p.close = append(p.close, l)
	go func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if err := handle(p.ns, c); err != nil {
					c.SetLinger(0)
				}
			}()
		}
	}()
	return nil
}

func (z *standIn) outbound(ns *netns.NS, c net.Conn) error {
	u, err := ns.DialTCP(context.Background(), netns.OriginalDst(c), netns.DialOptions{Mark: bpf.MarkZtunnel, Timeout: 3 * time.Second})
	if err != nil {
		return err
	}
	fmt.Fprintf(c, "out by %s\n", z.name)
	return both(c, u)
}

func (z *standIn) inbound(ns *netns.NS, c net.Conn) error {
	u, err := ns.DialTCP(context.Background(), netns.OriginalDst(c), netns.DialOptions{Mark: bpf.MarkApplication, Interface: 1,
		Source: netns.Source(c).Addr(), Timeout: 3 * time.Second})
	if err != nil {
		return err
	}
	fmt.Fprintf(c, "in by %s\n", z.name)
	return both(c, u)
}

func both(a, b net.Conn) error {
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		_, err := io.Copy(b, a)
		b.(*net.TCPConn).CloseWrite()
		done <- err
	}()
	_, err := io.Copy(a, b)
	a.(*net.TCPConn).CloseWrite()
	return errors.Join(err, <-done)
}

func (z *standIn) Keep(uid string) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.told[uid] = true
	if z.pods[uid] == nil {
		return errors.New("never added")
	}
	return nil
}

func (z *standIn) Del(uid string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.remove(uid)
}

func (z *standIn) Snapshot() {
	z.mu.Lock()
	defer z.mu.Unlock()
	for uid := range z.pods {
		if !z.told[uid] {
			z.remove(uid)
		}
	}
}

// remove drops a pod. z.mu is held.
func (z *standIn) remove(uid string) {
	if p := z.pods[uid]; p != nil {
		for _, c := range p.close {
			c.Close()
		}
		p.ns.Close()
		delete(z.pods, uid)
	}
}

// roleEcho: ADDRESS. It says whom it sees, and ends.
func roleEcho(args []string) error {
	l, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintf(c, "hello %s\n", netns.Source(c).Addr())
		c.Close()
	}
}

// outcome of a client's connection.
type outcome struct {
	Lines   []string // all that it read
	Err     string
	Refused bool
	Elapsed time.Duration
}

// roleClient: ADDRESS.
func roleClient(args []string) error {
	start := time.Now()
	var o outcome
	c, err := net.DialTimeout("tcp", args[0], 3*time.Second)
	if err == nil {
		c.SetDeadline(start.Add(3 * time.Second))
		s := bufio.NewScanner(c)
		for s.Scan() {
			o.Lines = append(o.Lines, s.Text())
		}
		err = s.Err()
	}
	o.Elapsed = time.Since(start)
	if err != nil {
		o.Err, o.Refused = err.Error(), errors.Is(err, syscall.ECONNREFUSED)
	}
	return json.NewEncoder(os.Stdout).Encode(o)
}
