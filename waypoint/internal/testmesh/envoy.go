package testmesh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/waypoint/bootstrap"
	"github.com/weftmesh/weft/waypoint/translate"
)

// Binary finds Envoy. Without one a test is skipped, and in CI fails.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := bootstrap.FindEnvoy("")
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
	return ""
}

// nextNet hands each mesh of a test process its own /24 of 127.0.0.0/8.
var nextNet atomic.Uint32

// Network returns the n-th loopback addresses of a new subnet: no two calls of one process share one, and
// processes start at different places.
func Network() func(n byte) netip.Addr {
	net := uint32(os.Getpid()*37) + nextNet.Add(1)
	a, b := byte(64+net>>8%128), byte(net)
	return func(n byte) netip.Addr { return netip.AddrFrom4([4]byte{127, a, b, n}) }
}

// Nack is a refusal that Envoy sent.
type Nack struct{ Type, Version, Message string }

// Envoy is a running waypoint with its control plane.
type Envoy struct {
	Node  string
	Cache cache.SnapshotCache
	Dir   string
	// Workers of Envoy. Default 2.
	Workers int
	// HangTime of its threads. Default as in production.
	HangTime time.Duration

	t       testing.TB
	cmd     *exec.Cmd
	done    chan struct{}
	secrets *cache.LinearCache
	out     *lockedBuffer

	mu    sync.Mutex // guards what follows
	nacks []Nack
	sent  map[string]string // system version by nonce
	asked map[string]bool   // types that Envoy subscribed to
	has   map[string]bool   // endpoints that it has got
	logs  []*accesslogv3.StreamAccessLogsMessage
	names []string // of resources sent
	bytes int      // of responses sent

	// OnNack, when set before the start, is told of each refusal.
	OnNack func(Nack)
}

// StartEnvoy runs the binary as the waypoint with the given SPIFFE URI and waits until it accepts its
// bootstrap. Resources come by Set. setup, if not nil, runs before anything is started.
func StartEnvoy(t testing.TB, ca *CA, uri string, setup func(*Envoy)) *Envoy {
	t.Helper()
	binary := Binary(t)
	dir, err := os.MkdirTemp("", "wft-envoy-")
	if err != nil {
		t.Fatal(err)
	}
	e := &Envoy{
		Node: "waypoint~test/wp~wp-0", Dir: dir, Workers: 2, sent: map[string]string{}, asked: map[string]bool{}, has: map[string]bool{}, t: t, done: make(chan struct{}), out: &lockedBuffer{},
		Cache:   cache.NewSnapshotCache(true, cache.IDHash{}, nil),
		secrets: cache.NewLinearCache(resource.SecretType),
	}
	if setup != nil {
		setup(e)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	e.serve()
	e.SetCertificate(ca, uri)
	e.run(binary)
	return e
}

// SetCertificate serves a new certificate by SDS.
func (e *Envoy) SetCertificate(ca *CA, uri string) {
	cert, key := ca.PEM(uri)
	inline := func(b []byte) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	e.secrets.SetResources(map[string]types.Resource{
		translate.SecretIdentity: &tlsv3.Secret{Name: translate.SecretIdentity, Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(cert), PrivateKey: inline(key)},
		}},
		translate.SecretTrust: &tlsv3.Secret{Name: translate.SecretTrust, Type: &tlsv3.Secret_ValidationContext{
			ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: inline(ca.RootPEM())},
		}},
	})
}

// Set publishes resources.
func (e *Envoy) Set(r *translate.Resources) {
	e.t.Helper()
	snap, err := r.Cache(fmt.Sprint(time.Now().UnixNano()))
	if err != nil {
		e.t.Fatal(err)
	}
	e.SetCache(snap)
}

// SetCache publishes a snapshot.
func (e *Envoy) SetCache(s *cache.Snapshot) {
	if err := e.Cache.SetSnapshot(context.Background(), e.Node, s); err != nil {
		e.t.Error(err)
	}
}

// Nacks lists what Envoy refused so far.
func (e *Envoy) Nacks() []Nack {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]Nack(nil), e.nacks...)
}

// Logs lists the access log messages received so far.
func (e *Envoy) Logs() []*accesslogv3.StreamAccessLogsMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*accesslogv3.StreamAccessLogsMessage(nil), e.logs...)
}

// Sent takes what was sent to Envoy since it was last asked: the names of resources, and bytes in all.
func (e *Envoy) Sent() (names []string, bytes int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	names, bytes = e.names, e.bytes
	e.names, e.bytes = nil, 0
	return names, bytes
}

// Output is what Envoy printed.
func (e *Envoy) Output() string { return e.out.String() }

func (e *Envoy) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	e.t.Cleanup(cancel)
	ads := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(ads, server.NewServer(ctx, e.Cache, e.callbacks()))
	launcher := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(launcher, server.NewServer(ctx, e.secrets, nil))
	accesslogv3.RegisterAccessLogServiceServer(launcher, e)
	for name, s := range map[string]*grpc.Server{bootstrap.ControllerSocket: ads, bootstrap.LauncherSocket: launcher} {
		ln, err := net.Listen("unix", filepath.Join(e.Dir, name))
		if err != nil {
			e.t.Fatal(err)
		}
		go func() { _ = s.Serve(ln) }()
		e.t.Cleanup(s.Stop)
	}
}

func (e *Envoy) callbacks() server.Callbacks {
	return server.CallbackFuncs{
		StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error {
			e.mu.Lock()
			e.asked[r.GetTypeUrl()] = true
			e.owns(r.GetTypeUrl(), slices.Collect(maps.Keys(r.GetInitialResourceVersions())), r.GetResourceNamesUnsubscribe())
			e.mu.Unlock()
			if d := r.GetErrorDetail(); d != nil {
				e.mu.Lock()
				n := Nack{r.GetTypeUrl(), e.sent[r.GetTypeUrl()+r.GetResponseNonce()], d.GetMessage()}
				e.nacks = append(e.nacks, n)
				e.mu.Unlock()
				if e.OnNack != nil {
					e.OnNack(n)
				}
			}
			return nil
		},
		StreamDeltaResponseFunc: func(_ int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.sent[r.GetTypeUrl()+r.GetNonce()] = r.GetSystemVersionInfo()
			var names []string
			for _, res := range r.GetResources() {
				names = append(names, res.GetName())
			}
			e.names = append(e.names, names...)
			e.owns(r.GetTypeUrl(), names, r.GetRemovedResources())
			e.bytes += proto.Size(r)
		},
	}
}

// StreamAccessLogs receives access logs.
func (e *Envoy) StreamAccessLogs(s accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	var id *accesslogv3.StreamAccessLogsMessage_Identifier
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Identifier == nil {
			m.Identifier = id
		}
		id = m.Identifier
		e.mu.Lock()
		e.logs = append(e.logs, m)
		e.mu.Unlock()
	}
}

func (e *Envoy) run(binary string) {
	cfg := bootstrap.Config(bootstrap.Options{NodeID: e.Node, Gateway: "test/wp", RunDir: e.Dir, HangTime: e.HangTime})
	file := WriteBootstrap(e.t, e.Dir, cfg)
	args := append(bootstrap.DrainArgs(), "-c", file, "--concurrency", strconv.Itoa(e.Workers), "--use-dynamic-base-id", "-l", "warn", "--file-flush-interval-msec", "100")
	if extra := os.Getenv("WEFT_ENVOY_TEST_ARGS"); extra != "" {
		args = append(args, strings.Fields(extra)...)
	}
	e.cmd = exec.Command(binary, args...)
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	go func() { _ = e.cmd.Wait(); close(e.done) }()
	e.t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		<-e.done
		if e.t.Failed() {
			e.t.Logf("envoy printed:\n%s", tail(e.out.String(), 8000))
		}
	})
}

// Admin asks Envoy's admin page.
func (e *Envoy) Admin(method, path string) (int, string) {
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(e.Dir, bootstrap.AdminSocket))
		},
	}}
	req, err := http.NewRequest(method, "http://admin"+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// WaitReady waits until Envoy has its listeners and secrets.
func (e *Envoy) WaitReady() {
	e.t.Helper()
	Eventually(e.t, 20*time.Second, "envoy is live", func() error {
		select {
		case <-e.done:
			e.t.Fatalf("envoy exited:\n%s", tail(e.out.String(), 4000))
		default:
		}
		if code, body := e.Admin("GET", "/ready"); code != 200 {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
}

// WriteBootstrap writes a bootstrap into a directory and returns the file.
func WriteBootstrap(t testing.TB, dir string, b *bootstrapv3.Bootstrap) string {
	t.Helper()
	out, err := bootstrap.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, bootstrap.File)
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Eventually polls until ok returns nil.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s: %v", limit, what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func tail(s string, n int) string {
	if len(s) > n {
		return s[len(s)-n:]
	}
	return s
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Ended tells that Envoy has, by itself.
func (e *Envoy) Ended() <-chan struct{} { return e.done }
