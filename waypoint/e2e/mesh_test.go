// Package e2e sends real traffic through a real Envoy that runs what translate made: HBONE client →
// waypoint → HBONE pod → application.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/isolate"
	"github.com/weftmesh/weft/waypoint/translate"
)

const (
	domain   = "cluster.local"
	waypoint = "spiffe://cluster.local/ns/shop/sa/waypoint"
	frontend = "spiffe://cluster.local/ns/shop/sa/frontend"
	other    = "spiffe://cluster.local/ns/other/sa/other"
	pods     = "spiffe://cluster.local/ns/shop/sa/cart"
	vip      = "10.96.0.1:80"
	key      = "shop/cart.shop.svc.cluster.local"
)

// mesh is one waypoint with pods behind and callers before it.
type mesh struct {
	t      *testing.T
	ca     *testmesh.CA
	addr   func(byte) netip.Addr
	envoy  *testmesh.Envoy
	iso    *isolate.Isolator
	snap   *model.Snapshot
	cfg    translate.Config
	client *testmesh.Client // as frontend
	http   *http.Client     // of client, to vip
	hosts  byte
	pods   []*testmesh.Pod
	timers atomic.Int32 // of iso
}

// afterFunc is the isolator's clock.
func (m *mesh) afterFunc(d time.Duration, f func()) func() bool {
	m.timers.Add(1)
	t := time.AfterFunc(d, func() { f(); m.timers.Add(-1) })
	return func() bool {
		stopped := t.Stop()
		if stopped {
			m.timers.Add(-1)
		}
		return stopped
	}
}

// settled waits until what was published counts as accepted, or its culprits are found.
func (m *mesh) settled() {
	m.t.Helper()
	m.eventually("nothing is waited for", func() error {
		if n := m.timers.Load(); n != 0 {
			return fmt.Errorf("%d timers", n)
		}
		return nil
	})
}

// oneWorker is for tests of several callers: what one of them sees is then in force for all.
func oneWorker(e *testmesh.Envoy) { e.Workers = 1 }

// newMesh has a service cart at vip (HTTP on 80, TCP on 9000, unknown on 81 and 82) with one pod v1.
func newMesh(t *testing.T) *mesh {
	t.Helper()
	return newMeshWith(t, nil)
}

func newMeshWith(t *testing.T, setup func(*testmesh.Envoy)) *mesh {
	t.Helper()
	m := &mesh{t: t, ca: testmesh.NewCA(t), addr: testmesh.Network(), hosts: 9}
	m.cfg = translate.Config{Listen: []netip.Addr{m.addr(1)}}
	m.snap = model.NewSnapshot()
	m.snap.TrustDomain = domain
	m.snap.Waypoints["shop/wp"] = &model.Waypoint{
		Namespace: "shop", Name: "wp", ServiceAccount: "waypoint", TrustDomain: domain, Hostname: "wp.shop.svc.cluster.local", For: "all",
	}
	m.service("cart", "10.96.0.1", "fd00:96::1")
	m.pod("cart", pods)
	m.envoy = testmesh.StartEnvoy(t, m.ca, waypoint, setup)
	iso, err := isolate.New(isolate.Options{
		Waypoint: "shop/wp", Config: m.cfg, Current: m.envoy.Current, AfterFunc: m.afterFunc,
		Publish: func(s *cache.Snapshot) error { m.envoy.SetCache(s); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(iso.Close)
	m.iso = iso
	m.publish()
	m.envoy.WaitReady()
	m.client = m.caller(frontend)
	m.http = m.client.HTTP(t, vip)
	m.eventually("the first request succeeds", func() error {
		res, err := m.http.Get("http://cart/")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != 200 {
			return fmt.Errorf("status %d", res.StatusCode)
		}
		return nil
	})
	return m
}

func (m *mesh) service(name string, vips ...string) *model.Service {
	s := &model.Service{
		Name: name, Namespace: "shop", Hostname: name + ".shop.svc.cluster.local",
		Waypoint: &model.Gateway{Namespace: "shop", Hostname: "wp.shop.svc.cluster.local", Port: 15008},
		Ports: []model.Port{
			{ServicePort: 80, TargetPort: testmesh.HTTPPort, App: model.AppHTTP},
			{ServicePort: 81, TargetPort: testmesh.HTTPPort},
			{ServicePort: 82, TargetPort: testmesh.TCPPort},
			{ServicePort: 90, TargetPort: testmesh.HTTPPort, App: model.AppGRPC},
			{ServicePort: 9000, TargetPort: testmesh.TCPPort, App: model.AppTCP},
		},
	}
	for _, v := range vips {
		s.Addresses = append(s.Addresses, netip.MustParseAddr(v))
	}
	m.snap.Services[s.Key()] = s
	return s
}

// pod starts a pod of a service; uri "" makes it one outside the mesh.
func (m *mesh) pod(service, uri string) *testmesh.Pod {
	m.hosts++
	name := fmt.Sprintf("%s-%d", service, m.hosts)
	p := testmesh.StartPod(m.t, m.ca, name, m.addr(m.hosts), 15008, uri)
	m.workload(p, service, uri)
	m.pods = append(m.pods, p)
	return p
}

func (m *mesh) podNamed(name string) *testmesh.Pod {
	for _, p := range m.pods {
		if p.Name == name {
			return p
		}
	}
	m.t.Fatalf("no pod %s", name)
	return nil
}

// mirrored counts what the pods of cart-v2 saw.
func (m *mesh) mirrored() int64 {
	var n int64
	for _, p := range m.pods {
		if strings.HasPrefix(p.Name, "cart-v2") {
			n += p.Requests.Load()
		}
	}
	return n
}

func (m *mesh) workload(p *testmesh.Pod, service, uri string) *model.Workload {
	s := m.snap.Services["shop/"+service+".shop.svc.cluster.local"]
	w := &model.Workload{
		UID: "test//Pod/shop/" + p.Name, Name: p.Name, Namespace: "shop", ServiceAccount: "cart", TrustDomain: domain,
		Addresses: []netip.Addr{p.Addr}, Services: map[string][]model.Port{s.Key(): s.Ports},
	}
	if uri != "" {
		w.Protocol = model.HBONE
	}
	m.snap.Workloads.Set(w.UID, w)
	return w
}

func (m *mesh) caller(uri string) *testmesh.Client {
	return testmesh.NewClient(m.t, m.ca, m.ca.Pair(uri), netip.AddrPortFrom(m.addr(1), 15008).String(), waypoint)
}

// publish gives the snapshot as it is now to Envoy, in the stages that the controller would. Envoy needs a
// moment to follow: wait for an effect.
func (m *mesh) publish() []translate.Problem {
	m.t.Helper()
	next := *m.snap
	next.Services, next.Workloads, next.Routes = maps.Clone(m.snap.Services), m.snap.Workloads.Clone(), maps.Clone(m.snap.Routes)
	next.L7Policies, next.Faults = maps.Clone(m.snap.L7Policies), maps.Clone(m.snap.Faults)
	next.Attachments = maps.Clone(m.snap.Attachments)
	if err := m.iso.Set(&next); err != nil {
		m.t.Fatal(err)
	}
	return m.iso.Problems()
}

func (m *mesh) eventually(what string, ok func() error) {
	m.t.Helper()
	testmesh.Eventually(m.t, 10*time.Second, what, ok)
}

// ask sends one request and reads the echo; the status counts even where there is no echo.
func ask(c *http.Client, method, path string, header ...string) (int, testmesh.Echo, http.Header, error) {
	req, err := http.NewRequest(method, "http://cart"+path, nil)
	if err != nil {
		return 0, testmesh.Echo{}, nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Add(header[i], header[i+1])
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, testmesh.Echo{}, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, testmesh.Echo{}, nil, err
	}
	var e testmesh.Echo
	_ = json.Unmarshal(body, &e)
	return res.StatusCode, e, res.Header, nil
}

// statusIs waits until a request is answered with a status: configuration needs a moment to arrive.
func (m *mesh) statusIs(want int, c *http.Client, method, path string, header ...string) testmesh.Echo {
	m.t.Helper()
	var e testmesh.Echo
	m.eventually(fmt.Sprintf("%s %s is answered %d", method, path, want), func() error {
		code, echo, _, err := ask(c, method, path, header...)
		if err != nil {
			return err
		}
		if code != want {
			return fmt.Errorf("status %d", code)
		}
		e = echo
		return nil
	})
	return e
}

func TestThinWalk(t *testing.T) {
	m := newMesh(t)
	e := m.statusIs(200, m.http, "GET", "/hello?x=1")
	if e.Path != "/hello?x=1" || e.Host != "cart" {
		t.Errorf("the application saw %+v", e)
	}
	if got, want := e.Headers.Get("X-Forwarded-Client-Cert"), "By="+waypoint+";URI="+frontend; got != want {
		t.Errorf("XFCC = %q, want %q", got, want)
	}
	if e.Headers.Get("X-Weft-Dst") != "" {
		t.Error("the scope's header reached the application")
	}
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
	tun, err := m.client.Dial(context.Background(), "10.96.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer tun.Close()
	buf := make([]byte, 100)
	n, err := tun.Read(buf)
	if err != nil || string(buf[:n]) != "220 cart-10\n" {
		t.Errorf("TCP banner: %q, %v", buf[:n], err)
	}
}
