package testmesh

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Ports of every pod's application.
const (
	HTTPPort = 8080 // HTTP/1.1, HTTP/2 and gRPC
	TCPPort  = 9000 // speaks first: "220 <name>\n", then echoes
)

// Pod is an application with an HBONE server before it.
type Pod struct {
	Name string
	Addr netip.Addr
	// Seen counts requests that reached the application, Requests those that it answered.
	Seen, Requests atomic.Int64
	// Tunnels counts accepted CONNECTs, Conns the TLS connections they came on.
	Tunnels, Conns atomic.Int64
	// Peer is the URI of the last TLS peer.
	Peer atomic.Value
	// Flaky makes so many next requests to /flaky fail with 503, and gRPC calls with UNAVAILABLE.
	Flaky atomic.Int64
	// Every makes each so many-th request to /flaky fail with 503; 0 none.
	Every atomic.Int64
	// Hold keeps requests to /hold waiting while it is true.
	Hold atomic.Bool

	hbone net.Listener
}

// StartPod serves an application at addr, and HBONE as uri at hbonePort unless uri is empty.
func StartPod(t testing.TB, ca *CA, name string, addr netip.Addr, hbonePort uint16, uri string) *Pod {
	t.Helper()
	if uri == "" {
		return StartPodTLS(t, name, addr, hbonePort, nil)
	}
	return StartPodTLS(t, name, addr, hbonePort, ca.serverTLS(uri))
}

// StartPodTLS is StartPod with a configuration from elsewhere; nil is a pod outside the mesh.
func StartPodTLS(t testing.TB, name string, addr netip.Addr, hbonePort uint16, cfg *tls.Config) *Pod {
	t.Helper()
	p := &Pod{Name: name, Addr: addr}
	p.Peer.Store("")
	listen := func(port uint16) net.Listener {
		ln, err := net.Listen("tcp", netip.AddrPortFrom(addr, port).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		return ln
	}
	app := &http.Server{Handler: p.handler(), Protocols: &http.Protocols{}}
	app.Protocols.SetHTTP1(true)
	app.Protocols.SetUnencryptedHTTP2(true)
	appLn := listen(HTTPPort)
	go func() { _ = app.Serve(appLn) }()
	t.Cleanup(func() { app.Close() })
	go serveBanner(listen(TCPPort), name)
	if cfg != nil {
		p.hbone = listen(hbonePort)
		srv := &http.Server{TLSConfig: cfg, Handler: http.HandlerFunc(p.connect), Protocols: &http.Protocols{},
			HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 200}, ErrorLog: log.New(io.Discard, "", 0)}
		srv.Protocols.SetHTTP2(true)
		srv.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				p.Conns.Add(1)
			}
		}
		go func() { _ = srv.ServeTLS(p.hbone, "", "") }()
		t.Cleanup(func() { srv.Close() })
	}
	return p
}

// StopTunnel closes the pod's HBONE port: its ztunnel is down.
func (p *Pod) StopTunnel() { p.hbone.Close() }

// connect is the inbound side of a ztunnel.
func (p *Pod) connect(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusBadRequest)
		return
	}
	p.Tunnels.Add(1)
	p.Peer.Store(r.TLS.PeerCertificates[0].URIs[0].String())
	up, err := net.DialTimeout("tcp", r.Host, 2*time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer up.Close()
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	_ = flush()
	go func() {
		_, _ = io.Copy(up, r.Body)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := up.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return
			}
			_ = flush()
		}
		if err != nil {
			return
		}
	}
}

func serveBanner(ln net.Listener, name string) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "220 %s\n", name)
			_, _ = io.Copy(c, c)
		}()
	}
}

// Echo is what the application answers: the request as it arrived.
type Echo struct {
	Pod     string      `json:"pod"`
	Proto   string      `json:"proto"`
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Host    string      `json:"host"`
	Headers http.Header `json:"headers"`
}

func (p *Pod) handler() http.Handler {
	gs := grpc.NewServer()
	healthpb.RegisterHealthServer(gs, &countedHealth{Server: health.NewServer(), pod: p})
	mux := http.NewServeMux()
	mux.HandleFunc("/sleep/{ms}", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.PathValue("ms"))
		select {
		case <-time.After(time.Duration(ms) * time.Millisecond):
			p.echo(w, r)
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/hold", func(w http.ResponseWriter, r *http.Request) {
		for p.Hold.Load() && r.Context().Err() == nil {
			time.Sleep(5 * time.Millisecond)
		}
		p.echo(w, r)
	})
	mux.HandleFunc("/flaky", func(w http.ResponseWriter, r *http.Request) {
		n, every := p.Requests.Add(1), p.Every.Load()
		w.Header().Set("X-Pod", p.Name)
		if p.Flaky.Add(-1) >= 0 || every > 0 && n%every == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		for name, values := range r.URL.Query() {
			if name != "" {
				w.Header()[http.CanonicalHeaderKey(name)] = values
			}
		}
		p.echo(w, r)
	})
	mux.HandleFunc("/abort", func(w http.ResponseWriter, r *http.Request) {
		p.Requests.Add(1)
		panic(http.ErrAbortHandler)
	})
	mux.HandleFunc("/ws", upgrade)
	mux.HandleFunc("/", p.echo)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.Seen.Add(1)
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			if p.Flaky.Add(-1) >= 0 {
				w.Header().Set("Content-Type", "application/grpc")
				w.Header().Set("Grpc-Status", "14") // at once, without an answer's body or trailers
				return
			}
			gs.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (p *Pod) echo(w http.ResponseWriter, r *http.Request) {
	p.Requests.Add(1)
	w.Header().Set("X-Pod", p.Name)
	_ = json.NewEncoder(w).Encode(Echo{p.Name, r.Proto, r.Method, r.URL.RequestURI(), r.Host, r.Header})
}

// upgrade is a WebSocket handshake followed by an echo of bytes.
func upgrade(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer c.Close()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
	_ = rw.Flush()
	_, _ = io.Copy(c, rw)
}

// countedHealth is the pod's gRPC service.
type countedHealth struct {
	*health.Server
	pod *Pod
}

func (h *countedHealth) Check(_ context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	h.pod.Requests.Add(1)
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}
