package ztunnel_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/relay"
)

// world is a fake of the network: pods have addresses, and every connection is a real TCP connection over
// loopback whose ends claim those addresses. No right is needed, and nothing of the kernel is configured.
type world struct {
	t *testing.T

	mu        sync.Mutex
	pods      map[netip.Addr]*fakePod         // by each of its addresses
	apps      map[netip.AddrPort]net.Listener // applications, and hosts outside of the mesh
	appSaw    []netip.Addr                    // client addresses that applications were shown
	plainSeen []netip.AddrPort                // destinations dialled plainly, in order
	silent    netip.Addr                      // answers nothing that is sent to it
	nextPort  uint16
}

func newWorld(t *testing.T) *world {
	return &world{t: t, pods: map[netip.Addr]*fakePod{}, apps: map[netip.AddrPort]net.Listener{}, nextPort: 40000}
}

// fakePod is one pod's network: a Sockets.
type fakePod struct {
	w     *world
	addrs []netip.Addr
	lists map[uint16]*fakeListener // 15001, 15006, 15008
}

func (w *world) pod(addrs ...string) *fakePod {
	p := &fakePod{w: w, lists: map[uint16]*fakeListener{}}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range addrs {
		x := netip.MustParseAddr(a)
		p.addrs = append(p.addrs, x)
		w.pods[x] = p
	}
	return p
}

// serve runs an application at addr; handle owns its connection.
func (w *world) serve(addr string, handle func(*net.TCPConn)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	w.apps[netip.MustParseAddrPort(addr)] = l
	w.mu.Unlock()
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c.(*net.TCPConn))
		}
	}()
}

func echo(c *net.TCPConn) {
	defer c.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			c.CloseWrite()
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

// conn is one end of a connection with the addresses that it claims.
type conn struct {
	*net.TCPConn
	local, remote netip.AddrPort
}

func (c *conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// fakeListener is fed by the world.
type fakeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newFakeListener() *fakeListener {
	return &fakeListener{conns: make(chan net.Conn, 64), done: make(chan struct{})}
}

func (l *fakeListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case c := <-l.conns:
		return c, nil
	}
}

func (l *fakeListener) closed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *fakeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

// connect makes a connection from src to dst that l accepts.
func (w *world) connect(l *fakeListener, src, dst netip.AddrPort) (*conn, error) {
	if l == nil || l.closed() {
		return nil, os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	real, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer real.Close()
	near, err := net.Dial("tcp", real.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := real.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case <-l.done:
		near.Close()
		far.Close()
		return nil, os.NewSyscallError("connect", unix.ECONNREFUSED)
	case l.conns <- &conn{far.(*net.TCPConn), dst, src}:
		return &conn{near.(*net.TCPConn), src, dst}, nil
	}
}

func (w *world) ephemeral(a netip.Addr) netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextPort++
	return netip.AddrPortFrom(a, w.nextPort)
}

func (p *fakePod) listener(port uint16) *fakeListener {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.lists[port]
}

// app opens a connection as an application of p does: captured, to the outbound listener.
func (p *fakePod) app(dst string) *net.TCPConn {
	p.w.t.Helper()
	d := netip.MustParseAddrPort(dst)
	return p.w.open(p.listener(15001), p.w.ephemeral(p.source(d)), d)
}

// source is the pod's address of the family of dst.
func (p *fakePod) source(dst netip.AddrPort) netip.Addr {
	for _, a := range p.addrs {
		if a.Is4() == dst.Addr().Is4() {
			return a
		}
	}
	return p.addrs[0]
}

// plain opens a connection from src to a pod without a tunnel: it is captured at its other end.
func (p *fakePod) plain(src, dst string) *net.TCPConn {
	p.w.t.Helper()
	return p.w.open(p.listener(15006), netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst))
}

func (w *world) open(l *fakeListener, src, dst netip.AddrPort) *net.TCPConn {
	w.t.Helper()
	c, err := w.connect(l, src, dst)
	if err != nil {
		w.t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(15 * time.Second))
	w.t.Cleanup(func() { c.TCPConn.Close() })
	return c.TCPConn
}

// Listen is of inpod.Sockets, like all that follows.
func (p *fakePod) Listen() (*inpod.Listeners, error) {
	l := &inpod.Listeners{}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for port, group := range map[uint16]*[]net.Listener{15001: &l.Outbound, 15006: &l.Plaintext, 15008: &l.HBONE} {
		p.lists[port] = newFakeListener()
		*group = append(*group, p.lists[port])
	}
	return l, nil
}

func (p *fakePod) Dial(ctx context.Context, dst netip.AddrPort) (relay.Conn, error) {
	p.w.mu.Lock()
	peer, app, silent := p.w.pods[dst.Addr()], p.w.apps[dst], dst.Addr() == p.w.silent
	p.w.mu.Unlock()
	if silent {
		<-ctx.Done()
		return nil, os.NewSyscallError("connect", unix.ETIMEDOUT)
	}
	if dst.Port() == 15008 && peer == nil {
		return nil, os.NewSyscallError("connect", unix.EHOSTUNREACH)
	}
	if dst.Port() == 15008 && peer != nil {
		c, err := p.w.connect(peer.listener(15008), p.w.ephemeral(p.source(dst)), dst)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	p.w.mu.Lock()
	p.w.plainSeen = append(p.w.plainSeen, dst)
	p.w.mu.Unlock()
	return dialApp(app)
}

func (p *fakePod) DialApp(_ context.Context, client netip.Addr, dst netip.AddrPort) (relay.Conn, error) {
	p.w.mu.Lock()
	p.w.appSaw = append(p.w.appSaw, client)
	app := p.w.apps[dst]
	p.w.mu.Unlock()
	return dialApp(app)
}

func dialApp(l net.Listener) (relay.Conn, error) {
	if l == nil {
		return nil, os.NewSyscallError("connect", unix.ECONNREFUSED)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (p *fakePod) DialDNS(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("this world has no name servers")
}

func (p *fakePod) Same(other inpod.Sockets) bool { return other == inpod.Sockets(p) }
func (p *fakePod) Close() error                  { return nil }

// lastClient is the address that an application was shown last.
func (w *world) lastClient() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.appSaw) == 0 {
		return "none"
	}
	return w.appSaw[len(w.appSaw)-1].String()
}

// netnsFile stands for a pod's namespace on its way from the agent: the name leads back to the fake.
func (w *world) netnsFile(p *fakePod) *os.File {
	f, err := os.Open(os.DevNull)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	namespaces.Store(f, p)
	return f
}

var namespaces sync.Map // *os.File → *fakePod

func sockets(f *os.File) (inpod.Sockets, error) {
	p, ok := namespaces.Load(f)
	if !ok {
		return nil, fmt.Errorf("%s is not a namespace", f.Name())
	}
	return p.(*fakePod), nil
}

// source80 is an address to dial, whichever.
func (p *fakePod) source80() netip.AddrPort { return netip.AddrPortFrom(p.addrs[0], 80) }
