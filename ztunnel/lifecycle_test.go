package ztunnel_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/state"
)

func TestDeletedPodTakesItsConnections(t *testing.T) {
	m := shop(t)
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hi"); err != nil {
		t.Fatal(err)
	}
	n2 := m.nodes["n2"]
	n2.Pods.Del("uid-cart-1")
	refused(t, c, 2*time.Second)
	until(t, "no connection left", func() bool { return n2.Flows.Len() == 0 && m.nodes["n1"].Flows.Len() == 0 })
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), 5*time.Second)
	if n := n2.Pods.Pods(); n != 0 {
		t.Errorf("%d pods left", n)
	}
	if l := n2.certs.List(); len(l) != 0 {
		t.Errorf("certificates of nobody are kept: %v", l)
	}
	n2.Pods.Del("uid-cart-1") // twice is no harm
}

func TestAgentLists(t *testing.T) {
	m := shop(t)
	pods := m.nodes["n1"].Pods
	info := inpod.Info{Name: "front-1", Namespace: "shop", ServiceAccount: "front"}
	m.serve("192.0.2.1:80", echo)
	c := m.pods["front-1"].app("192.0.2.1:80")
	if _, err := say(c, "a"); err != nil {
		t.Fatal(err)
	}
	// The agent restarts: what it lists again stays, with its connections.
	pods.Connected()
	if err := pods.Keep("uid-nobody"); err == nil {
		t.Error("a pod that was never added was kept")
	}
	if pods.Told() {
		t.Error("has all pods before the list has ended")
	}
	if err := pods.Add("uid-front-1", info, m.netnsFile(m.pods["front-1"])); err != nil {
		t.Fatal(err)
	}
	pods.Snapshot()
	if err := m.nodes["n1"].Ready(); err == nil || !strings.Contains(err.Error(), "agent") {
		t.Errorf("a pod on the list is not here, yet ready: %v", err)
	}
	pods.Del("uid-nobody")
	if err := m.nodes["n1"].Ready(); err != nil {
		t.Error(err)
	}
	if _, err := say(c, "b"); err != nil {
		t.Errorf("listed again, but cut: %v", err)
	}
	pods.Connected()
	if err := pods.Keep("uid-front-1"); err != nil {
		t.Error(err)
	}
	pods.Snapshot()
	if _, err := say(c, "c"); err != nil {
		t.Errorf("kept, but cut: %v", err)
	}
	// A pod of the same uid in another namespace is another pod.
	again := m.pod("10.244.1.1")
	if err := pods.Add("uid-front-1", info, m.netnsFile(again)); err != nil {
		t.Fatal(err)
	}
	refused(t, c, time.Second)
	if _, err := say(again.app("192.0.2.1:80"), "d"); err != nil {
		t.Error(err)
	}
	// What it does not list is gone.
	pods.Connected()
	pods.Snapshot()
	if n := pods.Pods(); n != 0 {
		t.Errorf("%d pods left", n)
	}
}

// noCA never signs.
type noCA struct{}

func (noCA) Issue(context.Context, identity.Identity, []byte, time.Duration) ([]string, error) {
	return nil, errors.New("the CA is down")
}

func TestPodsThatCannotJoin(t *testing.T) {
	certs := ca.NewManager(ca.ManagerOptions{Issuer: noCA{}})
	defer certs.Close()
	z := ztunnel.New(ztunnel.Options{Node: "n1", Certificates: certs, Sockets: sockets, CertificateTimeout: 5 * time.Second})
	w := newWorld(t)
	info := inpod.Info{Name: "a-1", Namespace: "shop", ServiceAccount: "a"}
	unknown, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer unknown.Close()
	for what, f := range map[string]*os.File{"no network namespace": nil, "is not a namespace": unknown, "the CA is down": w.netnsFile(w.pod("10.244.1.1"))} {
		if err := z.Pods.Add("u", info, f); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("want %q, got %v", what, err)
		}
	}
	if n := z.Pods.Pods(); n != 0 {
		t.Errorf("%d pods", n)
	}
	if l := certs.List(); len(l) != 0 {
		t.Errorf("identities of nobody are kept: %v", l)
	}
}

func TestDrain(t *testing.T) {
	m := shop(t)
	m.serve("192.0.2.1:80", echo)
	front := m.pods["front-1"]
	short, long := front.app("192.0.2.1:80"), front.app("10.96.0.2:80")
	for _, c := range []*net.TCPConn{short, long} {
		if _, err := say(c, "hi"); err != nil {
			t.Fatal(err)
		}
	}
	n1 := m.nodes["n1"]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n1.Drain(ctx) }()
	until(t, "no listener", func() bool {
		_, err := m.connect(front.listener(15001), m.ephemeral(front.addrs[0]), front.source80())
		return errors.Is(err, unix.ECONNREFUSED)
	})
	if err := n1.Ready(); err == nil {
		t.Error("ready while draining")
	}
	for _, c := range []*net.TCPConn{short, long} {
		if _, err := say(c, "still here"); err != nil {
			t.Errorf("a living connection was cut at the beginning of the drain: %v", err)
		}
	}
	short.CloseWrite()
	if _, err := io.ReadAll(short); err != nil {
		t.Error(err)
	}
	if err := n1.Pods.Add("uid-new-1", inpod.Info{Name: "new-1", Namespace: "shop", ServiceAccount: "new"}, m.netnsFile(m.pod("10.244.1.7"))); err == nil {
		t.Error("a pod joined a ztunnel that stops")
	}
	cancel() // the drain time is over
	refused(t, long, 2*time.Second)
	<-done
	n1.record(t, map[string]any{"flags": "DT"})
	if n := n1.Flows.Len(); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

func TestNewPodsOfAServiceTakeOver(t *testing.T) {
	m := shop(t)
	m.serve("10.244.2.2:8080", func(c *net.TCPConn) { c.Write([]byte("second")); c.Close() })
	m.enrol("n2", "cart-2", "10.244.2.2")
	first, second := workload("n2", "cart-1", "10.244.2.1"), workload("n2", "cart-2", "10.244.2.2")
	s := service("cart", "10.96.0.2", 8080, first, second)
	first.Unhealthy = true
	m.apply(state.Delta{Workloads: []*model.Workload{first, second}, Services: []*model.Service{s}})
	for range 10 {
		c := m.pods["front-1"].app("10.96.0.2:80")
		if b, err := io.ReadAll(c); err != nil || string(b) != "second" {
			t.Fatalf("%q %v", b, err)
		}
	}
	w := *second // the one before is being read
	w.Unhealthy = true
	m.apply(state.Delta{Workloads: []*model.Workload{&w}})
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), time.Second)
	m.nodes["n1"].record(t, map[string]any{"flags": "UH"})
}

func TestDNSOverCapturedTCP(t *testing.T) {
	m := shop(t)
	c := &dns.Conn{Conn: m.pods["front-1"].app("10.96.0.10:53")}
	if err := c.WriteMsg(new(dns.Msg).SetQuestion("cart.", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	r, err := c.ReadMsg()
	if err != nil || len(r.Answer) != 1 || r.Answer[0].(*dns.A).A.String() != "10.96.0.2" {
		t.Errorf("%v %v", r, err)
	}
}

// A name server that is in the mesh gets no question in the clear.
func TestNameServerInTheMesh(t *testing.T) {
	m := shop(t)
	m.serve("10.244.2.1:53", echo)
	c := m.pods["front-1"].app("10.244.2.1:53")
	if got, err := say(c, "hello"); err != nil || got != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"dst_addr": "10.244.2.1:53", "security": "mutual_tls", "flags": "-"})
}

func TestRetire(t *testing.T) {
	m := shop(t)
	front, n1 := m.pods["front-1"], m.nodes["n1"]
	old := front.app("10.96.0.2:80")
	if _, err := say(old, "hi"); err != nil {
		t.Fatal(err)
	}
	if n := n1.Retire(); n != 1 {
		t.Fatalf("%d tunnels retired, want 1", n)
	}
	young := front.app("10.96.0.2:80")
	for name, c := range map[string]*net.TCPConn{"the old connection": old, "a new connection": young} {
		if _, err := say(c, "still here"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := n1.Retire(); n != 2 {
		t.Errorf("%d tunnels, want the old one, which still carries a stream, and a new one", n)
	}
	for _, c := range []*net.TCPConn{old, young} {
		c.CloseWrite()
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
	}
	until(t, "tunnels have ended with their streams", func() bool { return n1.Retire() == 0 })
}
