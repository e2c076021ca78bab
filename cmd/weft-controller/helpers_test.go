package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// asProgram makes the test binary be the program.
const asProgram = "WEFT_CONTROLLER_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// bench is the folders and keys of one mesh; controllers come and go on it.
type bench struct {
	t   *testing.T
	dir string
	c   config
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "wc") // short: it holds unix sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	key := filepath.Join(dir, "token.key")
	if err := ca.CreateTokenKey(key); err != nil {
		t.Fatal(err)
	}
	return &bench{t: t, dir: dir, c: config{
		sources: []string{"dir:" + filepath.Join(dir, "src")}, stateDir: filepath.Join(dir, "state"), deployDir: filepath.Join(dir, "deploy"),
		listen: "127.0.0.1:0", debugListen: "off", adminSocket: filepath.Join(dir, "admin.sock"), trustDomain: "cluster.local", clusterDomain: "cluster.local",
		caDir: filepath.Join(dir, "ca"), certTTL: time.Hour, tokenKey: key + ".pub", logLevel: "error", logFormat: "text",
	}}
}

// start runs a controller until stop or the test's end; stop fails the test when it does not end cleanly.
func (b *bench) start() (address string, stop func()) {
	b.t.Helper()
	at := make(chan string, 1)
	c := b.c
	c.onListen = func(a net.Addr) { at <- a.String() }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, c) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("run: %v", err)
		}
	})
	b.t.Cleanup(stop)
	select {
	case address = <-at:
	case err := <-done:
		b.t.Fatalf("run: %v", err)
	}
	return address, stop
}

// write replaces a file below the bench's folder, as an editor does.
func (b *bench) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(path), ".edit")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) remove(name string) {
	b.t.Helper()
	if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
		b.t.Fatal(err)
	}
}

// read is a file's content, empty when it is not there.
func (b *bench) read(name string) string {
	data, _ := os.ReadFile(filepath.Join(b.dir, name))
	return string(data)
}

// page asks the admin socket; it is empty while nobody answers.
func (b *bench) page(path string) string {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", b.c.adminSocket)
		},
	}}
	res, err := client.Get("http://controller" + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(data)
}

// entry is what weftctl reads of /debug/status.
type entry struct {
	Kind, Namespace, Name, File string
	Generation                  int64
	Conditions                  []condition
	Problems                    []problem
}

type condition struct {
	Type, Status, Reason, Message string
	ObservedGeneration            int64
	LastTransitionTime            time.Time
}

type problem struct {
	Severity, File, Path, Message string
	Line                          int
	LastGood                      bool
}

// status finds an object's entry in /debug/status; empty when there is none.
func (b *bench) status(kind, namespace, name string) entry {
	var all []entry
	if json.Unmarshal([]byte(b.page("/debug/status")), &all) == nil {
		for _, e := range all {
			if e.Kind == kind && e.Namespace == namespace && e.Name == name {
				return e
			}
		}
	}
	return entry{}
}

// proxy is a real ztunnel's subscription.
type proxy struct {
	mu        sync.Mutex
	services  map[string]*model.Service
	workloads map[string]*model.Workload
	policies  map[string]*model.Policy
}

func (p *proxy) Apply(d subscribe.Delta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range d.Services {
		p.services[v.Key()] = v
	}
	for _, v := range d.Workloads {
		p.workloads[v.UID] = v
	}
	for _, v := range d.Policies {
		p.policies[v.Key()] = v
	}
	for _, name := range d.RemovedAddresses {
		delete(p.services, name)
		delete(p.workloads, name)
	}
	for _, name := range d.RemovedPolicies {
		delete(p.policies, name)
	}
	return nil
}

// service is by name in namespace shop; nil when it is not known.
func (p *proxy) service(name string) *model.Service {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.services["shop/"+name+".shop.svc.cluster.local"]
}

// policyNames are sorted and joined.
func (p *proxy) policyNames() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(p.policies)), " ")
}

func (b *bench) dial(address, account, node string) *grpc.ClientConn {
	b.t.Helper()
	token, err := ca.MintToken(ca.MintOptions{KeyFile: strings.TrimSuffix(b.c.tokenKey, ".pub"), ServiceAccount: account, Node: node})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.dialWith(address, token)
}

func (b *bench) dialWith(address, token string) *grpc.ClientConn {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		b.t.Fatal(err)
	}
	conn, err := ca.Dial(ca.DialOptions{Address: address, RootFile: filepath.Join(b.c.caDir, ca.FileRoots), TokenFile: file,
		Server: identity.Identity{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-controller"}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// ztunnel subscribes as node n1's.
func (b *bench) ztunnel(address string) *proxy {
	b.t.Helper()
	return b.subscribe(b.dial(address, "weft-system/weft-ztunnel", "n1"))
}

// dialToken subscribes with a token.
func (b *bench) dialToken(address, token string) *proxy {
	b.t.Helper()
	return b.subscribe(b.dialWith(address, token))
}

func (b *bench) subscribe(conn *grpc.ClientConn) *proxy {
	b.t.Helper()
	p := &proxy{services: map[string]*model.Service{}, workloads: map[string]*model.Workload{}, policies: map[string]*model.Policy{}}
	c, err := subscribe.New(subscribe.Options{Conn: conn, NodeID: wire.ZtunnelNode("n1"), Handler: p, MaxBackoff: 200 * time.Millisecond})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	b.t.Cleanup(func() { cancel(); <-done })
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// service is a manifest; more goes into its metadata.
func service(name string, port int, more string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop%s}\nspec: {clusterIP: 10.96.1.%d, ports: [{port: %d}], selector: {app: %s}}\n---\n", name, more, len(name), port, name)
}

const policyYAML = `apiVersion: weft.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: %s, namespace: shop}
spec:
  action: ALLOW
  rules: [{from: [{source: {%s}}]}]
---
`

const gatewayYAML = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: way, namespace: shop, labels: {weft.dev/waypoint-for: service}}
spec:
  gatewayClassName: weft-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`
