package ztunnel_test

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/bpf"
	kernel "github.com/weftmesh/weft/pkg/direct"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/direct"
	"github.com/weftmesh/weft/ztunnel/state"
)

// takeMaps hands the maps of the direct path to one ztunnel at a time, as an agent does.
func (l *kernelLab) takeMaps(ctx context.Context) (direct.Kernel, io.ReadCloser, error) {
	select {
	case l.maps <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	maps := l.r.DirectMaps()
	for name, m := range maps {
		c, err := m.Clone()
		if err != nil {
			return nil, nil, err
		}
		maps[name] = c
	}
	m, err := kernel.Open(maps)
	r, w := io.Pipe()
	return m, turn{r, w, l.maps}, err
}

// turn is a connection to the agent.
type turn struct {
	*io.PipeReader
	w    *io.PipeWriter
	maps chan struct{}
}

func (t turn) Close() error {
	select {
	case <-t.maps:
	default: // closed before
	}
	return t.w.Close()
}

// directMesh is a kernelMesh whose pods may talk directly, with a server on cart-1 that is not the ztunnel's.
func directMesh(t *testing.T) (*kernelLab, *node) {
	t.Helper()
	l := newKernelLab(t)
	l.direct = true
	n := l.mesh()
	n.Pods.Snapshot() // the agent has told all pods
	server := l.app("server", "cart-1", ":9090")
	if got := server.line(); got != "ready" {
		t.Fatal(got)
	}
	until(t, "the maps", func() bool { return len(l.maps) == 1 })
	return l, n
}

// passed counts the connections that went directly to cart-1.
func (l *kernelLab) passed() uint64 {
	l.t.Helper()
	c, err := l.r.Counters()
	must(l.t, err)
	return c.Pods["uid-cart-1"][bpf.PassedDirect]
}

// goesDirectly connects until a connection goes directly, and returns that one.
func (l *kernelLab) goesDirectly(to string) (client *app) {
	l.t.Helper()
	until(l.t, "a direct connection", func() bool {
		before := l.passed()
		client = l.app("client", "front-1", to)
		if got := client.line(); got != kernelPods["front-1"][0] && got != kernelPods["front-1"][1] {
			l.t.Fatalf("the application saw %q", got)
		}
		if l.passed() > before {
			return true
		}
		client.end()
		return false
	})
	return client
}

func TestDirect(t *testing.T) {
	l, n := directMesh(t)
	for what, to := range map[string]string{"IPv4": "10.78.0.2:9090", "IPv6": "[fd78::2]:9090"} {
		t.Run(what, func(t *testing.T) {
			l.t = t
			c := l.goesDirectly(to)
			if got := c.say("hello"); got != "hello" {
				t.Errorf("echo: %q", got)
			}
			c.end()
			for _, direction := range []string{"outbound", "inbound"} {
				r := n.record(t, map[string]any{"direction": direction, "dst_addr": to, "security": "same_node"})
				for k, want := range map[string]any{"src_workload": "shop/front-1", "dst_workload": "shop/cart-1", "flags": "-", "bytes_sent": 6.0,
					"src_identity": "spiffe://cluster.local/ns/shop/sa/front", "dst_identity": "spiffe://cluster.local/ns/shop/sa/cart"} {
					if r[k] != want {
						t.Errorf("%s: %s is %v, want %v", direction, k, r[k], want)
					}
				}
			}
			living := l.goesDirectly(to)
			addr := netip.MustParseAddrPort(to)
			n.State.Apply(state.Delta{Policies: []*model.Policy{denyPort(addr.Port())}})
			defer n.State.Apply(state.Delta{RemovedPolicies: []string{"shop/closed"}})
			if got := living.say(""); got == "" || got[:5] != "error" {
				t.Errorf("the denied connection says %q", got)
			}
			r := n.record(t, map[string]any{"direction": "inbound", "dst_addr": to, "security": "same_node", "flags": string(telemetry.FlagDenied)})
			if r["policy"] != "shop/closed" {
				t.Errorf("cut by %v", r)
			}
			before := l.passed()
			if got := l.app("client", "front-1", to).line(); got[:5] != "error" {
				t.Errorf("a new connection says %q", got)
			}
			if l.passed() != before {
				t.Error("a forbidden connection went directly")
			}
		})
	}
	l.t = t
}

// A service whose endpoint is on the node: its own connections, telemetry and policy, and the proxy's as soon as a
// fault is to be done to them.
func TestDirectService(t *testing.T) {
	l, n := directMesh(t)
	old := n.State.ServiceByHostname("cart.shop.svc.cluster.local")
	w := *n.State.PodByKey("shop/cart-1")
	svc := *old
	svc.Ports = []model.Port{{ServicePort: 80, TargetPort: 9090}}
	w.Services = map[string][]model.Port{svc.Key(): svc.Ports}
	n.State.Apply(state.Delta{Workloads: []*model.Workload{&w}, Services: []*model.Service{&svc}})
	for what, to := range map[string]string{"IPv4": "10.96.0.2:80", "IPv6": "[fd00:96::2]:80"} {
		t.Run(what, func(t *testing.T) {
			l.t = t
			c := l.goesDirectly(to)
			if got := c.say("hello"); got != "hello" {
				t.Errorf("echo: %q", got)
			}
			c.end()
			n.record(t, map[string]any{"direction": "outbound", "dst_dialled": to, "dst_workload": "shop/cart-1", "security": "same_node",
				"dst_service": "cart.shop.svc.cluster.local", "flags": "-"})
		})
	}
	l.t = t
	living := l.goesDirectly("10.96.0.2:80")
	slow := svc
	slow.Faults = []model.ConnFault{{Name: "shop/nothing"}}
	n.State.Apply(state.Delta{Services: []*model.Service{&slow}})
	until(t, "the proxy's path", func() bool {
		before := l.passed()
		a := l.app("client", "front-1", "10.96.0.2:80")
		a.line()
		a.end()
		return l.passed() == before
	})
	_ = living // goes on: the fault is for connections that come
	if got := living.say("still"); got != "still" {
		t.Errorf("a living connection says %q", got)
	}
}

func denyPort(port uint16) *model.Policy {
	return &model.Policy{Name: "closed", Namespace: "shop", Scope: model.ScopeNamespace, Action: model.Deny,
		Rules: []model.Rule{{Clauses: []model.Clause{{Matches: []model.Match{{Ports: []uint16{port}}}}}}}}
}
