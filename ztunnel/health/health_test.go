package health

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	grpchealth "google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/pod"
	"github.com/weftmesh/weft/ztunnel/relay"
	"github.com/weftmesh/weft/ztunnel/state"
)

// application is a pod whose port 8080 is at another address, of this test.
type application struct {
	at    atomic.Pointer[string] // "": nothing listens
	asked atomic.Int64
}

func (a *application) Dial(context.Context, netip.AddrPort) (relay.Conn, error) {
	panic("a check leaves the pod")
}

func (a *application) DialApp(ctx context.Context, _ netip.Addr, dst netip.AddrPort) (relay.Conn, error) {
	a.asked.Add(1)
	if dst != netip.MustParseAddrPort("10.0.0.1:8080") {
		return nil, &net.AddrError{Err: "not the port that was to be asked", Addr: dst.String()}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", *a.at.Load())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (a *application) set(at string) { a.at.Store(&at) }

type rig struct {
	*Prober
	t     *testing.T
	app   *application
	state *state.State
	pods  atomic.Pointer[[]*pod.Pod]
}

func start(t *testing.T, at string, check model.HealthCheck) *rig {
	t.Helper()
	r := &rig{t: t, app: &application{}, state: state.New("n1")}
	r.app.set(at)
	id := identity.Identity{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: "cart"}
	pods := []*pod.Pod{{UID: "1", Namespace: "shop", Name: "cart-1", Identity: id, Network: r.app, State: r.state}}
	r.pods.Store(&pods)
	r.set(check)
	r.state.SetSynced()
	r.Prober = New(Options{State: r.state, Pods: func() []*pod.Pod { return *r.pods.Load() }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// set says how the service is checked.
func (r *rig) set(checks ...model.HealthCheck) {
	s := &model.Service{Name: "cart", Namespace: "shop", Hostname: "cart.shop", Ports: []model.Port{{ServicePort: 80, TargetPort: 8080}}}
	for _, c := range checks {
		c.Interval, c.Timeout, c.Unhealthy, c.Healthy = 5*time.Millisecond, 5*time.Second, 2, 2
		s.Probes = append(s.Probes, model.Probe{HealthCheck: c})
	}
	w := &model.Workload{UID: "uid", Name: "cart-1", Namespace: "shop", ServiceAccount: "cart", TrustDomain: "cluster.local", Node: "n1",
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Services: map[string][]model.Port{s.Key(): s.Ports}}
	r.state.Apply(state.Delta{Workloads: []*model.Workload{w}, Services: []*model.Service{s}})
}

// becomes waits for what is reported.
func (r *rig) becomes(uids ...string) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		got, _ := r.Unhealthy()
		if slices.Equal(got, uids) {
			return
		}
		if time.Now().After(end) {
			r.t.Fatalf("unhealthy are %v, want %v", got, uids)
		}
	}
}

// wellFor sees that n further checks leave it healthy.
func (r *rig) wellFor(n int64) {
	r.t.Helper()
	for end, until := r.app.asked.Load()+n, time.Now().Add(20*time.Second); r.app.asked.Load() < end; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			r.t.Fatal("it is not asked")
		}
	}
	r.becomes()
}

func TestHTTP(t *testing.T) {
	var status atomic.Int64
	var host, path atomic.Value
	status.Store(302) // which is not followed
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		host.Store(q.Host)
		path.Store(q.URL.Path)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(status.Load()))
	}))
	t.Cleanup(s.Close)
	r := start(t, s.Listener.Addr().String(), model.HealthCheck{Kind: model.CheckHTTP, Path: "/ok"})
	r.wellFor(3)
	if host.Load() != "cart.shop" || path.Load() != "/ok" {
		t.Errorf("asked for %v%v", host.Load(), path.Load())
	}
	status.Store(500)
	r.becomes("uid")
	status.Store(204)
	r.becomes()
	r.set(model.HealthCheck{Kind: model.CheckHTTP, Path: "/ok", Statuses: []uint32{200}})
	r.becomes("uid") // by the new check
	r.set()
	r.becomes()
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, h := grpc.NewServer(), grpchealth.NewServer()
	healthv1.RegisterHealthServer(srv, h)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	h.SetServingStatus("cart.Cart", healthv1.HealthCheckResponse_SERVING)
	r := start(t, l.Addr().String(), model.HealthCheck{Kind: model.CheckGRPC, Service: "cart.Cart"})
	r.wellFor(3)
	h.SetServingStatus("cart.Cart", healthv1.HealthCheckResponse_NOT_SERVING)
	r.becomes("uid")
	h.SetServingStatus("cart.Cart", healthv1.HealthCheckResponse_SERVING)
	r.becomes()
}

// A pod that leaves the mesh is no longer reported.
func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	r := start(t, at, model.HealthCheck{Kind: model.CheckTCP})
	r.wellFor(3)
	l.Close()
	r.becomes("uid")
	r.pods.Store(&[]*pod.Pod{})
	r.becomes()
	if _, used := r.Unhealthy(); !used {
		t.Error("that it is well again must still be reported")
	}
}

// An application that takes connections and says nothing fails at its timeout, and holds nothing up.
func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &model.HealthCheck{Kind: model.CheckHTTP, Path: "/"}
	for _, kind := range []model.CheckKind{model.CheckHTTP, model.CheckGRPC, "smoke signals"} {
		c.Kind = kind
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := ask(ctx, c, "h", func(ctx context.Context) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "tcp", l.Addr().String())
		}); err == nil {
			t.Errorf("%s: silence is no answer", kind)
		}
		cancel()
	}
}

// No check is asked for: nothing is made, nothing is to be reported.
func TestUnused(t *testing.T) {
	r := &rig{t: t, state: state.New("n1")}
	r.Prober = New(Options{State: r.state, Pods: func() []*pod.Pod { return nil }})
	r.reconcile(t.Context())
	if _, used := r.Unhealthy(); used {
		t.Error("used")
	}
}
