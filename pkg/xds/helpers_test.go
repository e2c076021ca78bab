package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/subscribe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var controller = identity.Identity{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-controller"}

// rig is one mesh's authority and token key; servers come and go on it.
type rig struct {
	authority *ca.Authority
	auth      ca.Authenticator
	rootFile  string
	tokenKey  string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{rootFile: filepath.Join(dir, "root.pem"), tokenKey: filepath.Join(dir, "token.key")}
	var err error
	must := func() {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.authority, err = ca.OpenAuthority(ca.AuthorityOptions{Dir: filepath.Join(dir, "ca"), Create: true})
	must()
	err = os.WriteFile(r.rootFile, r.authority.RootPEM(), 0o600)
	must()
	err = ca.CreateTokenKey(r.tokenKey)
	must()
	jwt, err := ca.NewJWTAuthenticator(ca.JWTOptions{KeyFile: r.tokenKey + ".pub"})
	must()
	r.auth = ca.Any(jwt, ca.PeerCertAuthenticator{Authority: r.authority})
	return r
}

// serve runs a server on an address until the returned function is called.
func (r *rig) serve(t testing.TB, address string, o Options) (s *Server, at string, stop func()) {
	t.Helper()
	o.TLS = r.authority.ServingTLS(ca.ServingOptions{Identity: controller, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	o.Authenticator = r.auth
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	// A client that dials a port where nobody listens may by chance connect to itself for a moment.
	var l net.Listener
	eventually(t, "the address is free", func() bool { l, err = net.Listen("tcp", address); return err == nil })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, l.Addr().String(), stop
}

// dial connects as a service account of a node.
func (r *rig) dial(t testing.TB, address string, o ca.MintOptions) *grpc.ClientConn {
	t.Helper()
	o.KeyFile = r.tokenKey
	if o.ServiceAccount == "" {
		o.ServiceAccount = "weft-system/weft-ztunnel"
	}
	token, err := ca.MintToken(o)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	conn, err := ca.Dial(ca.DialOptions{Address: address, RootFile: r.rootFile, Server: controller, TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// plain is a delta-ADS client that knows nothing of ours: what a ztunnel of another maker does.
type plain struct {
	t      testing.TB
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel func()
}

func openPlain(t testing.TB, conn *grpc.ClientConn) *plain {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return &plain{t: t, stream: s, cancel: cancel}
}

func (p *plain) send(r *discoveryv3.DeltaDiscoveryRequest) {
	p.t.Helper()
	if err := p.stream.Send(r); err != nil && !errors.Is(err, io.EOF) { // the server ended the stream: Recv says why
		p.t.Fatal(err)
	}
}

// subscribe asks as Istio's ztunnel does: no names on the first request means everything.
func (p *plain) subscribe(node, typeURL string, known map[string]string) {
	p.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: node}, TypeUrl: typeURL, InitialResourceVersions: known})
}

func (p *plain) recv() *discoveryv3.DeltaDiscoveryResponse {
	p.t.Helper()
	defer time.AfterFunc(10*time.Second, p.cancel).Stop()
	r, err := p.stream.Recv()
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

func (p *plain) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (p *plain) nack(r *discoveryv3.DeltaDiscoveryResponse, why string) {
	p.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: &status.Status{Code: 3, Message: why}})
}

// err waits for the stream to end.
func (p *plain) err() error {
	defer time.AfterFunc(10*time.Second, p.cancel).Stop()
	for {
		if _, err := p.stream.Recv(); err != nil {
			return err
		}
	}
}

// shape is a response in one line: names sorted, removed ones with a minus.
func shape(r *discoveryv3.DeltaDiscoveryResponse) string {
	var out []string
	for _, res := range r.GetResources() {
		out = append(out, res.GetName())
	}
	for _, n := range r.GetRemovedResources() {
		out = append(out, "-"+n)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func versions(r *discoveryv3.DeltaDiscoveryResponse) map[string]string {
	out := map[string]string{}
	for _, res := range r.GetResources() {
		out[res.GetName()] = res.GetVersion()
	}
	return out
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// mesh builds snapshots from a few words: "a" is a workload with an address, "svc:x" a service, "pol:x" a policy, "range:x" a range.
// A suffix "=n" varies the content.
func mesh(words ...string) *model.Snapshot {
	s := model.NewSnapshot()
	for _, w := range words {
		name, variant, _ := strings.Cut(w, "=")
		if svc, ok := strings.CutPrefix(name, "svc:"); ok {
			v := &model.Service{Name: svc, Namespace: "shop", Hostname: svc, Ports: []model.Port{{ServicePort: 80, TargetPort: 8080, Name: "p" + variant}}}
			s.Services[v.Key()] = v
		} else if pol, ok := strings.CutPrefix(name, "pol:"); ok {
			v := &model.Policy{Name: pol, Namespace: "shop", Scope: model.ScopeNamespace, Rules: []model.Rule{{Clauses: []model.Clause{{Matches: []model.Match{{Principals: []model.StringMatch{model.ParseStringMatch("x" + variant)}}}}}}}}
			s.Policies[v.Key()] = v
		} else if r, ok := strings.CutPrefix(name, "range:"); ok {
			v := &model.Range{Prefix: netip.MustParsePrefix(r), Services: variant != ""}
			s.Ranges[v.Key()] = v
		} else {
			v := &model.Workload{UID: name, Name: name, Namespace: "shop", ServiceAccount: "default", TrustDomain: "cluster.local", CanonicalRev: variant}
			if name[0] >= 'a' && name[0] <= 'z' {
				v.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, name[0] - 'a' + 1})}
			}
			s.Workloads.Set(name, v)
		}
	}
	return s
}

// store is a Handler that keeps what it is told, as a ztunnel does.
type store struct {
	mu        sync.Mutex
	workloads map[string]*model.Workload
	services  map[string]*model.Service
	policies  map[string]*model.Policy
	log       []string // one line a delta
	fail      error
}

func newStore() *store {
	return &store{workloads: map[string]*model.Workload{}, services: map[string]*model.Service{}, policies: map[string]*model.Policy{}}
}

func (s *store) Apply(d subscribe.Delta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	var line []string
	for _, r := range d.Ranges {
		line = append(line, r.String())
	}
	for _, p := range d.RemovedRanges {
		line = append(line, "-"+p.String())
	}
	for _, w := range d.Workloads {
		s.workloads[w.UID] = w
		line = append(line, w.UID)
	}
	for _, v := range d.Services {
		s.services[v.Key()] = v
		line = append(line, v.Key())
	}
	for _, p := range d.Policies {
		s.policies[p.Key()] = p
		line = append(line, p.Key())
	}
	for _, n := range d.RemovedAddresses {
		delete(s.workloads, n)
		delete(s.services, n)
		line = append(line, "-"+n)
	}
	for _, n := range d.RemovedPolicies {
		delete(s.policies, n)
		line = append(line, "-"+n)
	}
	slices.Sort(line)
	if d.Initial && len(line) > 0 {
		line = append(line, "(initial)")
	}
	s.log = append(s.log, strings.Join(line, " "))
	return nil
}

func (s *store) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *store) policy(key string) *model.Policy {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.policies[key]
}

func (s *store) workload(uid string) *model.Workload {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workloads[uid]
}

// transcript returns and forgets the deltas so far, without the empty ones.
func (s *store) transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, l := range s.log {
		if l != "" {
			out = append(out, l)
		}
	}
	s.log = nil
	return strings.Join(out, "\n")
}

func (s *store) counts() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%d workloads, %d services, %d policies", len(s.workloads), len(s.services), len(s.policies))
}

func certOf(c *ca.Cert) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) { return &c.TLS, nil }
}
