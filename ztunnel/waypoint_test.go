package ztunnel_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/state"
)

// foreign is a tunnel's end that we did not write: crypto/tls and x/net/http2. It echoes what it is sent.
type foreign struct {
	mu       sync.Mutex
	requests []string      // authority and caller
	headers  []http.Header // of the same
	status   int
}

// foreignAt stands in for a waypoint at addr, under the service account sa.
func (m *mesh) foreignAt(addr, sa string) *foreign {
	p := m.pod(addr)
	l := newFakeListener()
	m.mu.Lock()
	p.lists[15008] = l
	m.mu.Unlock()
	m.t.Cleanup(func() { l.Close() })
	f := &foreign{status: 200}
	cert := certificate(m.t, m.authority, identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: sa})
	cfg := &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2"}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.authority.Pool()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.t.Cleanup(func() { c.Close() })
			go func() {
				tc := tls.Server(c, cfg)
				if tc.Handshake() == nil {
					caller := tc.ConnectionState().PeerCertificates[0].URIs[0].String()
					(&http2.Server{}).ServeConn(tc, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						f.serve(w, r, caller)
					})})
				}
			}()
		}
	}()
	return f
}

func (f *foreign) serve(w http.ResponseWriter, r *http.Request, caller string) {
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.Host+" from "+caller)
	f.headers = append(f.headers, r.Header)
	status := f.status
	f.mu.Unlock()
	w.WriteHeader(status)
	if status != 200 {
		return
	}
	rc := http.NewResponseController(w)
	rc.Flush()
	b := make([]byte, 4096)
	for {
		n, err := r.Body.Read(b)
		if n > 0 {
			w.Write(b[:n])
			rc.Flush()
		}
		if err != nil {
			if err != io.EOF {
				panic(http.ErrAbortHandler)
			}
			return
		}
	}
}

func (f *foreign) last() (string, http.Header) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.requests) == 0 {
		return "", nil
	}
	return f.requests[len(f.requests)-1], f.headers[len(f.headers)-1]
}

// withWaypoint puts a waypoint before cart.
func withWaypoint(t *testing.T, sa string) (*mesh, *foreign) {
	t.Helper()
	m := shop(t)
	f := m.foreignAt("10.244.2.50", sa)
	way := workload("n2", "way-1", "10.244.2.50")
	way.NativeTunnel = true
	ws := service("way", "10.96.0.50", 15008, way)
	ws.Ports[0].ServicePort = 15008
	way.Services[ws.Key()] = ws.Ports
	cart := service("cart", "10.96.0.2", 8080)
	cart.Waypoint = &model.Gateway{Namespace: "shop", Hostname: ws.Hostname, Port: 15008}
	m.apply(state.Delta{Workloads: []*model.Workload{way}, Services: []*model.Service{ws, cart}})
	return m, f
}

func TestThroughWaypoint(t *testing.T) {
	m, f := withWaypoint(t, "way")
	c := m.pods["front-1"].app("10.96.0.2:80")
	if got, err := say(c, "hello"); err != nil || got != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	req, h := f.last()
	if want := "CONNECT 10.96.0.2:80 from " + frontID; req != want {
		t.Errorf("the waypoint was asked %q, want %q", req, want)
	}
	if v := h.Get("forwarded"); !strings.HasPrefix(v, `for="10.244.1.1:`) || !strings.Contains(v, "host=cart.shop.svc.cluster.local") {
		t.Errorf("forwarded: %q", v)
	}
	if v := h.Get("baggage"); !strings.Contains(v, "k8s.namespace.name=shop") || !strings.Contains(v, "k8s.deployment.name=front") || !strings.Contains(v, "service.name=front") {
		t.Errorf("baggage: %q", v)
	}
	if v := h.Get("traceparent"); len(v) != 55 || !strings.HasPrefix(v, "00-") {
		t.Errorf("traceparent: %q", v)
	}
	c.Close()
	r := m.nodes["n1"].record(t, map[string]any{"waypoint": "shop/way-1", "security": "mutual_tls"})
	if r["dst_identity"] != "spiffe://cluster.local/ns/shop/sa/way" || r["dst_service"] != "cart.shop.svc.cluster.local" {
		t.Errorf("%v", r)
	}
}

func TestWaypointRefuses(t *testing.T) {
	m, f := withWaypoint(t, "way")
	for status, flag := range map[int]string{401: "UAEX", 403: "UAEX", 503: "UF", 404: "UF", 400: "UF"} {
		f.mu.Lock()
		f.status = status
		f.mu.Unlock()
		refused(t, m.pods["front-1"].app("10.96.0.2:80"), 2*time.Second)
		r := m.nodes["n1"].record(t, map[string]any{"flags": flag})
		if r["cause"] == nil || r["hint"] == nil {
			t.Errorf("status %d: no cause or hint: %v", status, r)
		}
	}
}

func TestImpostorOfAWaypoint(t *testing.T) {
	m, f := withWaypoint(t, "front") // a certificate of the mesh, but not the waypoint's
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), 5*time.Second)
	if req, _ := f.last(); req != "" {
		t.Errorf("the impostor was asked %q", req)
	}
}

// One of two pods of a waypoint cannot be reached: the other is asked, and never the service's pods themselves.
func TestAnotherPodOfTheWaypoint(t *testing.T) {
	m, f := withWaypoint(t, "way")
	way, dead := workload("n2", "way-1", "10.244.2.50"), workload("n1", "way-2", "10.244.1.50")
	s := service("way", "10.96.0.50", 15008, way, dead)
	s.Ports[0].ServicePort = 15008
	s.Preference = []model.Scope{model.ScopeNode} // the dead one comes first
	for _, w := range []*model.Workload{way, dead} {
		w.NativeTunnel, w.Services[s.Key()] = true, s.Ports
	}
	m.apply(state.Delta{Workloads: []*model.Workload{way, dead}, Services: []*model.Service{s}})
	c := m.pods["front-1"].app("10.96.0.2:80")
	if got, err := say(c, "hello"); err != nil || got != "hello" {
		t.Fatalf("%q %v", got, err)
	}
	c.Close()
	m.nodes["n1"].record(t, map[string]any{"waypoint": "shop/way-1", "security": "mutual_tls", "retries": 1.0})
	w := *way
	w.Unhealthy = true
	m.apply(state.Delta{Workloads: []*model.Workload{&w}})
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), 5*time.Second)
	if req, _ := f.last(); len(m.plainSeen) != 0 || req == "" {
		t.Errorf("sent in plaintext to %v; asked %q", m.plainSeen, req)
	}
}
