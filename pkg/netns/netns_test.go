package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// privileged skips on a laptop and fails in CI, where root is owed to us.
func privileged(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("needs root, and CI must provide it")
	}
	t.Skip("needs root: network namespaces")
}

// fresh makes an anonymous namespace with lo up and the addresses given.
func fresh(t *testing.T, addrs ...string) *NS {
	t.Helper()
	privileged(t)
	type result struct {
		f   *os.File
		err error
	}
	ch := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			ch <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		ch <- result{f, err}
	}()
	r := <-ch
	if r.err != nil {
		t.Fatal(r.err)
	}
	defer r.f.Close()
	ns, err := FromFile(r.f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	if err := ns.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		for _, a := range addrs {
			addr, err := netlink.ParseAddr(a)
			if err != nil {
				return err
			}
			addr.Flags |= unix.IFA_F_NODAD
			if err := netlink.AddrAdd(lo, addr); err != nil {
				return err
			}
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // the kernel routes it from a work queue
				// At first only its prefix may be routed, and what is sent there comes back as nobody's.
				routes, err := netlink.RouteGet(addr.IP)
				if err == nil && routes[0].Type == unix.RTN_LOCAL {
					break
				}
				if time.Now().After(end) {
					return fmt.Errorf("%s does not become an address of lo: %v %v", addr.IP, routes, err)
				}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return ns
}

func cookieHere(t *testing.T) uint64 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDoEntersAndLeaves(t *testing.T) {
	a, b := fresh(t), fresh(t)
	before := cookieHere(t)
	if a.Cookie() == b.Cookie() || a.Cookie() == before {
		t.Fatalf("cookies %d, %d, own %d are not distinct", a.Cookie(), b.Cookie(), before)
	}
	err := a.Do(func() error {
		if got := cookieHere(t); got != a.Cookie() {
			t.Errorf("inside: cookie %d, want %d", got, a.Cookie())
		}
		if err := b.Do(func() error {
			if got := cookieHere(t); got != b.Cookie() {
				t.Errorf("nested: cookie %d, want %d", got, b.Cookie())
			}
			return nil
		}); err != nil {
			return err
		}
		if got := cookieHere(t); got != a.Cookie() {
			t.Errorf("after the nested call: cookie %d, want %d", got, a.Cookie())
		}
		return io.ErrUnexpectedEOF
	})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error of the function is lost: %v", err)
	}
	for range 50 {
		done := make(chan uint64)
		go func() { done <- cookieHere(t) }()
		if got := <-done; got != before {
			t.Fatalf("a thread stayed in namespace %d", got)
		}
	}
}

func TestClosedHandle(t *testing.T) {
	a := fresh(t)
	a.Close()
	if err := a.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Fatalf("Do after Close: %v", err)
	}
	if _, err := Open("/proc/self/status"); err == nil {
		t.Fatal("a plain file was taken for a namespace")
	}
}

func TestListenDialBothFamilies(t *testing.T) {
	ns := fresh(t, "10.9.0.1/32", "fd09::1/128")
	for _, at := range []string{"10.9.0.1:8080", "[fd09::1]:8080"} {
		addr := netip.MustParseAddrPort(at)
		l, err := ns.ListenTCP(ListenOptions{Addr: addr})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				io.Copy(c, c)
				c.Close()
			}
		}()
		c, err := ns.DialTCP(context.Background(), addr, DialOptions{Mark: 0x539, Timeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("hello"))
		c.CloseWrite()
		if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
			t.Fatalf("%s: %q %v", at, b, err)
		}
		c.Close()
	}
}

func TestDialErrors(t *testing.T) {
	ns := fresh(t, "10.9.0.1/32")
	_, err := ns.DialTCP(context.Background(), netip.MustParseAddrPort("10.9.0.1:1"), DialOptions{})
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("closed port: %v", err)
	}
	_, err = ns.DialTCP(context.Background(), netip.MustParseAddrPort("192.0.2.1:1"), DialOptions{})
	if !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("no route: %v", err)
	}
	_, err = ns.DialTCP(context.Background(), netip.MustParseAddrPort("10.9.0.1:1"), DialOptions{Source: netip.MustParseAddr("fd00::1")})
	if err == nil {
		t.Error("mixed families accepted")
	}
	// A listener whose queue is full lets SYNs time out.
	l, err := ns.ListenTCP(ListenOptions{Addr: netip.MustParseAddrPort("10.9.0.1:9"), Backlog: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conns []net.Conn
	for range 8 {
		c, err := ns.DialTCP(context.Background(), netip.MustParseAddrPort("10.9.0.1:9"), DialOptions{Timeout: 50 * time.Millisecond})
		if err != nil {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("timeout: %v", err)
			}
			break
		}
		conns = append(conns, c)
	}
	if len(conns) == 8 {
		t.Error("never timed out")
	}
	for _, c := range conns {
		c.Close()
	}
}

func TestBorrowedSource(t *testing.T) {
	ns := fresh(t, "10.9.0.1/32", "fd09::1/128")
	routeBack(t, ns)
	for at, client := range map[string]string{"10.9.0.1:8080": "192.0.2.7", "[fd09::1]:8080": "2001:db8::7"} {
		l, err := ns.ListenTCP(ListenOptions{Addr: netip.MustParseAddrPort(at)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range 300 {
			c, err := ns.DialTCP(context.Background(), netip.MustParseAddrPort(at), DialOptions{
				Mark: 0x53a, Interface: 1, Source: netip.MustParseAddr(client), Timeout: 5 * time.Second,
				Avoid: func(p uint16) bool { return p%2 == 1 }})
			if err != nil {
				t.Fatal(err)
			}
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			from := Source(s)
			if from.Addr().String() != client || from.Port()%2 == 1 || from.Port() >= 32768 && from.Port() <= 60999 {
				t.Fatalf("the application saw %v", from)
			}
			defer c.Close()
			defer s.Close()
		}
	}
}

// routeBack is what an enrolled pod has: replies to a borrowed address return by lo.
func routeBack(t *testing.T, ns *NS) {
	t.Helper()
	err := ns.Do(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fwmark_accept", []byte("1"), 0); err != nil {
			return err
		}
		for fam, all := range map[int]string{unix.AF_INET: "0.0.0.0/0", unix.AF_INET6: "::/0"} {
			_, dst, _ := net.ParseCIDR(all)
			if err := netlink.RouteAdd(&netlink.Route{Family: fam, LinkIndex: 1, Table: 177, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Dst: dst}); err != nil {
				return err
			}
			r := netlink.NewRule()
			r.Family, r.Mark, r.Table, r.Priority = fam, 0x53a, 177, 91
			if err := netlink.RuleAdd(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFindListeners(t *testing.T) {
	ns, other := fresh(t), fresh(t)
	want := netip.MustParseAddrPort("127.0.0.1:15001")
	want6 := netip.MustParseAddrPort("[::1]:15001")
	for _, a := range []netip.AddrPort{want, want6, netip.MustParseAddrPort("127.0.0.1:9999")} {
		l, err := ns.ListenTCP(ListenOptions{Addr: a, Transparent: true})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	u, err := ns.ListenUDP(ListenOptions{Addr: netip.MustParseAddrPort("127.0.0.1:15053")})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	foreign, err := other.ListenTCP(ListenOptions{Addr: want})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()

	got, err := ns.FindListeners(os.Getpid(), 15001, 15053)
	if err != nil {
		t.Fatal(err)
	}
	defer CloseListeners(got)
	if len(got) != 3 {
		t.Fatalf("found %d sockets, want 3: %+v", len(got), got)
	}
	for _, l := range got {
		if l.UDP != (l.Addr.Port() == 15053) {
			t.Errorf("protocol of %v is wrong", l.Addr)
		}
		if l.UDP {
			continue
		}
		nl, err := net.FileListener(l.File)
		if err != nil {
			t.Fatal(err)
		}
		if g := addrPort(nl.Addr()); g != want && g != want6 {
			t.Errorf("took %v", g)
		}
		nl.Close()
	}
	if _, err := ns.FindListeners(os.Getppid(), 15001); !errors.Is(err, ErrNoListener) {
		t.Errorf("sockets of another process: %v", err)
	}
	if _, err := other.FindListeners(os.Getpid(), 15053); !errors.Is(err, ErrNoListener) {
		t.Errorf("sockets of another namespace: %v", err)
	}
}

// A connection is ended, and one that is gone is nobody: not the listener that would get its packets now.
func TestDestroyConn(t *testing.T) {
	ns := fresh(t)
	for _, at := range []string{"127.0.0.1:8080", "[::1]:8080"} {
		server := netip.MustParseAddrPort(at)
		l, err := ns.ListenTCP(ListenOptions{Addr: server})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		for range 2 { // the second one proves that the listener lives
			var client, accepted net.Conn
			err := ns.Do(func() (err error) {
				client, err = net.DialTimeout("tcp", at, 5*time.Second)
				return err
			})
			if err != nil {
				t.Fatalf("%s: %v (is the listener gone?)", at, err)
			}
			defer client.Close()
			if accepted, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			for range 2 { // the second time it is gone
				if err := ns.DestroyConn(server, addrPort(client.LocalAddr())); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := accepted.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNABORTED) {
				t.Errorf("%s: the connection ended with %v", at, err)
			}
		}
	}
}

func BenchmarkSocket(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	ns, err := Current()
	if err != nil {
		b.Fatal(err)
	}
	defer ns.Close()
	for b.Loop() {
		fd, err := ns.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			b.Fatal(err)
		}
		unix.Close(fd)
	}
}
