package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/weftmesh/weft/pkg/model"
)

const askPort = 7001

// judge is an authorization service by both protocols: it lets pass what has the header x-pass.
type judge struct {
	mu   sync.Mutex // protects what follows
	last *authv3.CheckRequest
	seen http.Header
	body string
	n    int
}

func (j *judge) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last, j.n = r, j.n+1
	if r.GetAttributes().GetRequest().GetHttp().GetHeaders()["x-pass"] != "" {
		return &authv3.CheckResponse{HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-judged", Value: "yes"}}},
		}}}, nil
	}
	return &authv3.CheckResponse{Status: &status.Status{Code: int32(codes.PermissionDenied)}, HttpResponse: &authv3.CheckResponse_DeniedResponse{
		DeniedResponse: &authv3.DeniedHttpResponse{Status: &typev3.HttpStatus{Code: typev3.StatusCode_PaymentRequired}, Body: "pay first"},
	}}, nil
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen, j.body, j.n = r.Header.Clone(), string(body), j.n+1
	j.seen.Set("Path", r.URL.Path)
	w.Header().Set("X-Judged", "by-http")
	w.Header().Set("X-Kept", "back")
	if r.Header.Get("X-Pass") == "" {
		w.WriteHeader(http.StatusTeapot)
	}
}

func (j *judge) asked() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.n
}

// judgeService puts a judge into the mesh, as Service authz port 7001.
func (m *mesh) judgeService(name string, vip byte, byHTTP bool) *judge {
	m.t.Helper()
	s := m.service(name, fmt.Sprintf("10.96.0.%d", vip))
	s.Ports = append(s.Ports, model.Port{ServicePort: askPort, TargetPort: askPort, App: model.AppTCP})
	p := m.pod(name, pods)
	ln, err := net.Listen("tcp", netip.AddrPortFrom(p.Addr, askPort).String())
	if err != nil {
		m.t.Fatal(err)
	}
	j := &judge{}
	if byHTTP {
		srv := &http.Server{Handler: j}
		go func() { _ = srv.Serve(ln) }()
		m.t.Cleanup(func() { srv.Close() })
		return j
	}
	gs := grpc.NewServer()
	authv3.RegisterAuthorizationServer(gs, j)
	go func() { _ = gs.Serve(ln) }()
	m.t.Cleanup(gs.Stop)
	return j
}

func (m *mesh) custom(name, service string, e *model.ExternalAuthorization, rules ...model.L7Rule) {
	e.Backend = model.Backend{Service: "shop/" + service + ".shop.svc.cluster.local", Port: askPort, Weight: 1}
	if e.StatusOnError == 0 {
		e.StatusOnError = 503
	}
	if e.Timeout == 0 {
		e.Timeout = 5 * time.Second
	}
	m.policy(&model.L7Policy{Name: name, Action: model.Deny, External: e, Rules: rules})
}

func onPath(p string) model.L7Rule { return model.L7Rule{To: []model.L7Operation{{Paths: paths(p)}}} }

// A gRPC service is asked about what the rules match, learns who calls, and decides before other policies do.
func TestAskByGRPC(t *testing.T) {
	m := newMesh(t)
	j := m.judgeService("authz", 7, false)
	m.custom("ask", "authz", &model.ExternalAuthorization{BodyBytes: 100, PartialBody: true}, onPath("/ask/*"))
	m.policy(&model.L7Policy{Name: "deny", Action: model.Deny, Rules: []model.L7Rule{onPath("/ask/never")}})
	m.publish()
	m.statusIs(402, m.http, "GET", "/ask/x")
	e := m.statusIs(200, m.http, "GET", "/ask/x", "X-Pass", "1", "X-Forwarded-Client-Cert", "By=x;URI=spiffe://forged")
	if e.Headers.Get("X-Judged") != "yes" {
		t.Errorf("the service's header did not reach the application: %v", e.Headers)
	}
	j.mu.Lock()
	h := j.last.GetAttributes().GetRequest().GetHttp()
	if h.GetPath() != "/ask/x" || !strings.HasSuffix(h.GetHeaders()["x-forwarded-client-cert"], ";URI="+frontend) {
		t.Errorf("the service was asked about %s by %s", h.GetPath(), h.GetHeaders()["x-forwarded-client-cert"])
	}
	j.mu.Unlock()
	m.statusIs(403, m.http, "GET", "/ask/never", "X-Pass", "1")
	m.statusIs(402, m.http, "GET", "/ASK/x") // loosely, as all that may refuse
	before := j.asked()
	m.statusIs(200, m.http, "GET", "/other")
	if j.asked() != before {
		t.Error("the service was asked about a request that no rule matches")
	}
	m.closedTCP("a TCP port, where nobody can be asked about requests")
	if n := m.envoy.Nacks(); len(n) > 0 {
		t.Errorf("nacks: %v", n)
	}
}

// By HTTP, headers pass by lists only.
func TestAskByHTTP(t *testing.T) {
	m := newMesh(t)
	j := m.judgeService("authz", 7, true)
	m.custom("ask", "authz", &model.ExternalAuthorization{
		HTTP: true, PathPrefix: "/check", HeadersToService: []string{"x-pass"}, HeadersToUpstream: []string{"X-Judged"}, HeadersToClient: []string{"x-kept"}, BodyBytes: 1000,
	}, onPath("/ask/*"))
	m.publish()
	m.statusIs(418, m.http, "GET", "/ask/x")
	_, _, head, err := ask(m.http, "GET", "/ask/x")
	if err != nil || head.Get("X-Kept") != "back" || head.Get("X-Judged") != "" {
		t.Errorf("the client sees %v %v", head, err)
	}
	e := m.statusIs(200, m.http, "GET", "/ask/x", "X-Pass", "1", "X-Secret", "s", "X-Judged", "forged")
	if got := e.Headers.Values("X-Judged"); len(got) != 1 || got[0] != "by-http" || e.Headers.Get("X-Kept") != "" {
		t.Errorf("the application sees %v", e.Headers)
	}
	j.mu.Lock()
	if j.seen.Get("X-Secret") != "" || j.seen.Get("Path") != "/check/ask/x" || !strings.HasSuffix(j.seen.Get("X-Forwarded-Client-Cert"), ";URI="+frontend) {
		t.Errorf("the service saw %v", j.seen)
	}
	j.mu.Unlock()
	res, err := m.http.Post("http://cart/ask/x", "text/plain", strings.NewReader(strings.Repeat("x", 2000)))
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body beyond the limit: %v %v", res, err)
	}
	req, _ := http.NewRequest(http.MethodPost, "http://cart/ask/x", strings.NewReader("the body"))
	req.Header.Set("X-Pass", "1")
	if res, err = m.http.Do(req); err != nil || res.StatusCode != 200 {
		t.Fatalf("a body within the limit: %v %v", res, err)
	}
	res.Body.Close()
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.body != "the body" {
		t.Errorf("the service saw the body %q", j.body)
	}
}

// A service that cannot be asked refuses, unless the policy says otherwise; one that does not exist refuses always.
func TestAskInVain(t *testing.T) {
	m := newMesh(t)
	m.service("down", "10.96.0.7").Ports = []model.Port{{ServicePort: askPort, TargetPort: askPort, App: model.AppTCP}}
	m.pod("down", pods) // nothing listens on the port
	m.custom("ask", "down", &model.ExternalAuthorization{StatusOnError: 504}, onPath("/ask/*"))
	m.publish()
	m.statusIs(504, m.http, "GET", "/ask/x")
	m.statusIs(200, m.http, "GET", "/other")
	m.eventually("the log says why", func() error {
		for _, msg := range m.envoy.Logs() {
			for _, e := range msg.GetHttpLogs().GetLogEntry() {
				if e.GetRequest().GetPath() == "/ask/x" && e.GetResponse().GetResponseCodeDetails() == "ext_authz_error" {
					return nil
				}
			}
		}
		return fmt.Errorf("not yet")
	})
	m.custom("ask", "down", &model.ExternalAuthorization{FailOpen: true}, onPath("/ask/*"))
	m.publish()
	m.statusIs(200, m.http, "GET", "/ask/x")
	m.custom("ask", "gone", &model.ExternalAuthorization{FailOpen: true}, onPath("/ask/*"))
	if p := m.publish(); len(p) == 0 {
		t.Error("no problem is reported")
	}
	m.statusIs(403, m.http, "GET", "/ask/x")
	m.statusIs(200, m.http, "GET", "/other")
}

// The service's and the waypoint's both ask; a second one on the same target refuses.
func TestAskTwo(t *testing.T) {
	m := newMesh(t)
	first, second := m.judgeService("authz", 7, false), m.judgeService("other", 8, true)
	m.custom("of-service", "authz", &model.ExternalAuthorization{}, onPath("/ask/*"))
	m.custom("of-waypoint", "other", &model.ExternalAuthorization{HTTP: true, HeadersToService: []string{"x-pass"}}, onPath("/ask/*"))
	p := m.snap.L7Policies["shop/of-waypoint"]
	p.Service, p.Waypoint = "", "shop/wp"
	m.publish()
	m.statusIs(418, m.http, "GET", "/ask/x")
	m.statusIs(200, m.http, "GET", "/ask/x", "X-Pass", "1")
	if first.asked() == 0 || second.asked() == 0 {
		t.Errorf("asked %d and %d times", first.asked(), second.asked())
	}
	m.custom("too-many", "authz", &model.ExternalAuthorization{}, onPath("/ask/y"))
	m.publish()
	m.statusIs(403, m.http, "GET", "/ask/y", "X-Pass", "1")
	m.statusIs(200, m.http, "GET", "/ask/x", "X-Pass", "1")
}
