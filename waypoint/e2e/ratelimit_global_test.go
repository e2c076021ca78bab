package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
)

const (
	limitPort    = 8081
	limitService = "shop/limits.shop.svc.cluster.local"
)

// process is a program beside the mesh, ended at the end.
type process struct {
	t    *testing.T
	path string
	args []string
	env  []string
	cmd  *exec.Cmd
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

func (p *process) stop() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// limiter is the public rate limit service with a Redis.
type limiter struct {
	redis, service *process
	socket         string
	addr           netip.Addr
}

// newLimiter runs both. All that the service is told is the domain: the limits come with the questions.
func newLimiter(t *testing.T) *limiter {
	t.Helper()
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("there is no redis-server: apt-get install redis-server")
		}
		t.Skip("there is no redis-server: apt-get install redis-server")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "ratelimit")
	build := exec.Command("go", "build", "-o", program, "github.com/envoyproxy/ratelimit/src/service_cmd")
	build.Dir = "ratelimit"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the rate limit service: %v\n%s", err, out)
	}
	config := filepath.Join(dir, "weft", "config")
	if err := os.MkdirAll(config, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "weft.yaml"), []byte("domain: weft\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	socketDir, err := os.MkdirTemp("", "wft-redis") // the names of sockets have to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(socketDir) })
	l := &limiter{socket: filepath.Join(socketDir, "s"), addr: testmesh.Network()(1)}
	l.redis = &process{t: t, path: redis, args: []string{"--port", "0", "--unixsocket", l.socket, "--save", "", "--dir", dir}}
	host := l.addr.String()
	l.service = &process{t: t, path: program, env: []string{
		"RUNTIME_ROOT=" + dir, "RUNTIME_SUBDIRECTORY=weft", "RUNTIME_WATCH_ROOT=false", "USE_STATSD=false",
		"REDIS_SOCKET_TYPE=unix", "REDIS_URL=" + l.socket,
		"HOST=" + host, "DEBUG_HOST=" + host, "GRPC_HOST=" + host, fmt.Sprintf("GRPC_PORT=%d", limitPort),
	}}
	t.Cleanup(func() { l.service.stop(); l.redis.stop() })
	l.startRedis()
	l.startService()
	return l
}

func (l *limiter) startRedis() {
	l.redis.start()
	l.await("unix", l.socket)
}

func (l *limiter) startService() {
	l.service.start()
	l.await("tcp", netip.AddrPortFrom(l.addr, limitPort).String())
}

func (l *limiter) await(network, addr string) {
	testmesh.Eventually(l.redis.t, 20*time.Second, addr+" is served", func() error {
		c, err := net.Dial(network, addr)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// join makes the rate limit service a service of a mesh, on a pod outside of it.
func (l *limiter) join(m *mesh) {
	s := &model.Service{Name: "limits", Namespace: "shop", Hostname: "limits.shop.svc.cluster.local",
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.77")},
		Ports:     []model.Port{{ServicePort: limitPort, TargetPort: limitPort, App: model.AppGRPC}}}
	m.snap.Services[s.Key()] = s
	m.snap.Workloads.Set("limits", &model.Workload{UID: "limits", Name: "limits", Namespace: "shop", ServiceAccount: "limits", TrustDomain: domain,
		Addresses: []netip.Addr{l.addr}, Services: map[string][]model.Port{s.Key(): s.Ports}})
}

func together(failOpen bool) *model.GlobalLimit {
	return &model.GlobalLimit{Service: model.ServicePort{Service: limitService, Port: limitPort}, Domain: "weft", FailOpen: failOpen, Timeout: 15 * time.Second}
}

// Two waypoints draw from one budget, which outlives changes of either; without the service or its Redis requests are
// refused or let through as the policy says.
func TestGlobalRateLimit(t *testing.T) {
	l := newLimiter(t)
	one, two := newMesh(t), newMesh(t)
	for _, m := range []*mesh{one, two} {
		l.join(m)
		rule := anHour(6, model.LimitKey{Type: model.LimitHeader, Name: "x-user"}, model.LimitKey{Type: model.LimitNamespace})
		m.limit("cart", model.RateLimit{Headers: true, Global: together(false), Rules: []model.LimitRule{rule}})
		m.eventually("the limit is in force", func() error {
			status, _, h, err := ask(m.http, "GET", "/", "x-user", "probe")
			if err == nil && h.Get("RateLimit-Limit") == "" {
				err = fmt.Errorf("status %d, headers %v", status, h)
			}
			return err
		})
	}
	first, second := one.passed(4, one.http, "GET", "/", "x-user", "alice"), two.passed(4, two.http, "GET", "/", "x-user", "alice")
	if first != 4 || second != 2 {
		t.Errorf("%d and %d passed, want 4 and 2 of the 6", first, second)
	}
	if status, _, h, err := ask(one.http, "GET", "/", "x-user", "alice"); err != nil || status != 429 {
		t.Errorf("alice's seventh: %d %v", status, err)
	} else {
		budget(t, "alice's seventh", h, h.Get("RateLimit-Limit"), "0")
	}
	if got := two.passed(8, two.http, "GET", "/", "x-user", "bob"); got != 6 {
		t.Errorf("%d of bob's passed, want 6", got)
	}
	elsewhere := one.caller(other).HTTP(t, vip)
	if got := one.passed(2, elsewhere, "GET", "/", "x-user", "bob"); got != 2 {
		t.Errorf("%d passed from another namespace, want 2", got)
	}

	for name, down := range map[string]struct{ stop, start func() }{
		"redis":   {l.redis.stop, l.startRedis},
		"service": {l.service.stop, l.startService},
	} {
		down.stop()
		one.eventually("without "+name+" all is refused", func() error { return expectStatus(one, 503) })
		one.limit("cart", model.RateLimit{Global: together(true), Rules: []model.LimitRule{anHour(6)}})
		one.eventually("without "+name+" all passes", func() error { return expectStatus(one, 200) })
		one.limit("cart", model.RateLimit{Global: together(false), Rules: []model.LimitRule{anHour(1_000_000)}})
		one.eventually("without "+name+" all is refused again", func() error { return expectStatus(one, 503) })
		down.start()
		one.eventually("with "+name+" again all is counted", func() error { return expectStatus(one, 200) })
	}

	// A dry run asks and never refuses.
	one.limit("cart", model.RateLimit{DryRun: true, Headers: true, Global: together(false), Rules: []model.LimitRule{anHour(1)}})
	one.eventually("the dry run is in force", func() error {
		_, _, h, err := ask(one.http, "GET", "/")
		if err == nil && h.Get("RateLimit-Limit") == "" {
			err = fmt.Errorf("headers %v", h)
		}
		return err
	})
	if got := one.passed(5, one.http, "GET", "/"); got != 5 {
		t.Errorf("%d of 5 passed in dry run", got)
	}
}

func expectStatus(m *mesh, want int) error {
	status, _, _, err := ask(m.http, "GET", "/")
	if err == nil && status != want {
		err = fmt.Errorf("status %d", status)
	}
	return err
}
