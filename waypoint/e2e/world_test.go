package e2e

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
	"github.com/weftmesh/weft/pkg/xds/wire"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/isolate"
	"github.com/weftmesh/weft/waypoint/translate"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/state"
)

// world is the whole mesh without a kernel's part: manifests go through source, controller and wire
// messages into a real ztunnel and a real Envoy. Pods have the addresses of their manifests; each stands
// on a loopback address, and connections claim what they would have come from.
type world struct {
	t     *testing.T
	ca    *testmesh.CA
	dir   string
	zt    *ztunnel.Ztunnel
	envoy *testmesh.Envoy
	iso   *isolate.Isolator
	next  byte
	addr  func(byte) netip.Addr
	nacks chan testmesh.Nack
	gone  chan struct{} // closed at the end

	mu    sync.Mutex // protects what follows
	real  map[netip.Addr]netip.Addr
	pods  map[string]*worldPod // by namespace/name
	told  state.Delta
	files map[*os.File]*worldPod
}

// worldPod is one pod's network.
type worldPod struct {
	w        *world
	addr     netip.Addr
	outbound *claimed // fed by the test
	plain    *claimed
}

// issuer of certificates for the ztunnel's pods.
type worldIssuer struct{ ca *testmesh.CA }

func (i worldIssuer) Issue(_ context.Context, id identity.Identity, csr []byte, ttl time.Duration) ([]string, error) {
	block, _ := pem.Decode(csr)
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	return []string{string(i.ca.Sign(id.String(), req.PublicKey, ttl)), string(i.ca.RootPEM())}, nil
}

const (
	worldGateway  = "shop/wp"
	worldWaypoint = "10.1.9.9"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, nil)
}

// newWorldWith lets setup change the ztunnel's options.
func newWorldWith(t *testing.T, setup func(*ztunnel.Options)) *world {
	t.Helper()
	w := &world{t: t, ca: testmesh.NewCA(t), addr: testmesh.Network(), dir: t.TempDir(), next: 1,
		nacks: make(chan testmesh.Nack, 64), gone: make(chan struct{}), real: map[netip.Addr]netip.Addr{}, pods: map[string]*worldPod{}, files: map[*os.File]*worldPod{}}
	t.Cleanup(func() { close(w.gone) })
	w.real[netip.MustParseAddr(worldWaypoint)] = w.addr(1)
	certs := ca.NewManager(ca.ManagerOptions{Issuer: worldIssuer{w.ca}})
	t.Cleanup(certs.Close)
	o := ztunnel.Options{Node: "n1", Certificates: certs, Sockets: w.sockets}
	if setup != nil {
		setup(&o)
	}
	w.zt = ztunnel.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.zt.Run(ctx) }()
	t.Cleanup(func() {
		gone, stop := context.WithCancel(context.Background())
		stop()
		w.zt.Drain(gone)
		cancel()
		<-done
	})
	w.envoy = testmesh.StartEnvoy(t, w.ca, "spiffe://cluster.local/ns/shop/sa/wp", func(e *testmesh.Envoy) {
		e.OnNack = func(n testmesh.Nack) {
			select {
			case w.nacks <- n:
			case <-w.gone:
			}
		}
	})
	iso, err := isolate.New(isolate.Options{
		Waypoint: worldGateway, Config: translate.Config{Listen: []netip.Addr{w.addr(1)}},
		Publish: func(s *cache.Snapshot) error { w.envoy.SetCache(w.onLoopback(s)); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(iso.Close)
	w.iso = iso
	go w.hear()
	return w
}

// hear passes refusals on to the isolator, as the controller does.
func (w *world) hear() {
	for {
		select {
		case n := <-w.nacks:
			if err := w.iso.Nack(n.Type, n.Version, n.Message); err != nil {
				w.t.Error(err)
			}
		case <-w.gone:
			return
		}
	}
}

// write puts manifests into the mesh's folder; "" removes the file.
func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name+".yaml")
	err := os.Remove(path)
	if text != "" {
		err = os.WriteFile(path, []byte(text), 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// apply compiles the folder and hands it out: to Envoy first, then to the ztunnel, as the controller does.
func (w *world) apply() (*model.Snapshot, []controller.Status) {
	w.t.Helper()
	d, err := source.Open(source.Options{Dirs: []string{w.dir}})
	if err != nil {
		w.t.Fatal(err)
	}
	objs, problems := d.Load()
	for _, p := range problems {
		w.t.Log(p)
	}
	snap, statuses := controller.Compile(objs, controller.Config{})
	for _, pod := range snap.Workloads.All() {
		if !pod.NativeTunnel {
			w.enrol(pod)
		}
	}
	if err := w.iso.Set(snap); err != nil {
		w.t.Fatal(err)
	}
	testmesh.Eventually(w.t, 10*time.Second, "Envoy has all stages", func() error {
		if !w.iso.Sent() {
			return errors.New("not sent")
		}
		return nil
	})
	w.tell(snap)
	return snap, statuses
}

// tell gives a snapshot to the ztunnel by way of the messages on the wire.
func (w *world) tell(snap *model.Snapshot) {
	w.t.Helper()
	d := state.Delta{}
	for _, v := range snap.Workloads.All() {
		got, _, err := wire.DecodeAddress(wire.EncodeWorkload(v))
		if err != nil {
			w.t.Fatal(err)
		}
		got.Node = "n1"
		d.Workloads = append(d.Workloads, got)
	}
	for _, v := range snap.Services {
		_, got, err := wire.DecodeAddress(wire.EncodeService(v))
		if err != nil {
			w.t.Fatal(err)
		}
		d.Services = append(d.Services, got)
	}
	for _, v := range snap.Policies {
		got, err := wire.DecodePolicy(wire.EncodePolicy(v))
		if err != nil {
			w.t.Fatal(err)
		}
		d.Policies = append(d.Policies, got)
	}
	for _, old := range w.told.Policies {
		if snap.Policies[old.Key()] == nil {
			d.RemovedPolicies = append(d.RemovedPolicies, old.Key())
		}
	}
	w.told = d
	w.zt.State.Apply(d)
	w.zt.State.SetSynced()
}

// enrol starts a pod's application and has the ztunnel serve it.
func (w *world) enrol(v *model.Workload) {
	w.t.Helper()
	key := v.Namespace + "/" + v.Name
	w.mu.Lock()
	_, there := w.pods[key]
	if there {
		w.mu.Unlock()
		return
	}
	w.next++
	p := &worldPod{w: w, addr: v.Addresses[0], outbound: newClaimed(), plain: newClaimed()}
	w.pods[key], w.real[p.addr] = p, w.addr(w.next)
	w.mu.Unlock()
	testmesh.StartPodTLS(w.t, v.Name, w.realOf(p.addr), 0, nil)
	f, err := os.Open(os.DevNull)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	w.mu.Lock()
	w.files[f] = p
	w.mu.Unlock()
	if v.Protocol != model.HBONE {
		return
	}
	if err := w.zt.Pods.Add("uid-"+key, inpod.Info{Name: v.Name, Namespace: v.Namespace, ServiceAccount: v.ServiceAccount}, f); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sockets(f *os.File) (inpod.Sockets, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.files[f]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s is not a namespace", f.Name())
}

func (w *world) realOf(a netip.Addr) netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.real[a]
}

// claimOf is the pod that stands on a loopback address; unknown ones are the waypoint's.
func (w *world) claimOf(a netip.Addr) netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	for pod, real := range w.real {
		if real == a {
			return pod
		}
	}
	return netip.MustParseAddr(worldWaypoint)
}

// onLoopback leads Envoy's tunnels to where pods stand. Everything else stays as translation made it.
func (w *world) onLoopback(s *cache.Snapshot) *cache.Snapshot {
	for _, r := range s.GetResources(resource.EndpointType) {
		for _, l := range r.(*endpointv3.ClusterLoadAssignment).Endpoints {
			for _, e := range l.LbEndpoints {
				fields := e.Metadata.FilterMetadata["weft"].GetFields()
				at, err := netip.ParseAddrPort(fields["tunnel"].GetStringValue())
				if real := w.realOf(at.Addr()); err == nil && real.IsValid() { // else it was done in an earlier stage
					fields["tunnel"] = structpb.NewStringValue(netip.AddrPortFrom(real, at.Port()).String())
				}
			}
		}
	}
	return s
}

// Listen is of inpod.Sockets, like all that follows.
func (p *worldPod) Listen() (*inpod.Listeners, error) {
	ln, err := net.Listen("tcp", netip.AddrPortFrom(p.w.realOf(p.addr), inpod.PortHBONE).String())
	if err != nil {
		return nil, err
	}
	return &inpod.Listeners{Outbound: []net.Listener{p.outbound}, Plaintext: []net.Listener{p.plain}, HBONE: []net.Listener{tunnelListener{ln, p}}}, nil
}

func (p *worldPod) Dial(ctx context.Context, dst netip.AddrPort) (relay.Conn, error) {
	real := p.w.realOf(dst.Addr())
	if !real.IsValid() {
		return nil, fmt.Errorf("nothing at %s", dst)
	}
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(p.w.realOf(p.addr), 0))}
	c, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(real, dst.Port()).String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (p *worldPod) DialApp(ctx context.Context, _ netip.Addr, dst netip.AddrPort) (relay.Conn, error) {
	return p.Dial(ctx, dst)
}

func (p *worldPod) DialDNS(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.New("this world has no name servers")
}

func (p *worldPod) Same(other inpod.Sockets) bool { return other == inpod.Sockets(p) }
func (p *worldPod) Close() error                  { return nil }

// tunnelListener accepts tunnels whose ends claim the pods' addresses.
type tunnelListener struct {
	net.Listener
	pod *worldPod
}

func (l tunnelListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return &claim{c.(*net.TCPConn), netip.AddrPortFrom(l.pod.addr, inpod.PortHBONE), netip.AddrPortFrom(l.pod.w.claimOf(from.Addr()), from.Port())}, nil
}

// claim is one end of a connection with the addresses that it claims.
type claim struct {
	*net.TCPConn
	local, remote netip.AddrPort
}

func (c *claim) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.local) }
func (c *claim) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// claimed is a listener that the test feeds.
type claimed struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newClaimed() *claimed {
	return &claimed{conns: make(chan net.Conn, 64), done: make(chan struct{})}
}

func (l *claimed) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	case c := <-l.conns:
		return c, nil
	}
}

func (l *claimed) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *claimed) Addr() net.Addr { return &net.TCPAddr{} }

// connect hands one end of a connection from src to dst to a listener.
func (l *claimed) connect(src, dst netip.AddrPort) (*net.TCPConn, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	far, err := ln.Accept()
	if err != nil {
		near.Close()
		return nil, err
	}
	l.conns <- &claim{far.(*net.TCPConn), dst, src}
	return near.(*net.TCPConn), nil
}

// dial opens a connection as the pod's application does: captured, to its ztunnel.
func (w *world) dial(pod, dst string) (*net.TCPConn, error) {
	w.mu.Lock()
	p := w.pods[pod]
	w.mu.Unlock()
	return p.outbound.connect(netip.AddrPortFrom(p.addr, 40000), netip.MustParseAddrPort(dst))
}

// bare opens a connection to a pod that comes without a tunnel, from outside of the mesh.
func (w *world) bare(src, pod string, port uint16) (*net.TCPConn, error) {
	w.mu.Lock()
	p := w.pods[pod]
	w.mu.Unlock()
	return p.plain.connect(netip.AddrPortFrom(netip.MustParseAddr(src), 40000), netip.AddrPortFrom(p.addr, port))
}
