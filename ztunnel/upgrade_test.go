package ztunnel_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/ztunnel/inpod"
	"github.com/weftmesh/weft/ztunnel/state"
	"github.com/weftmesh/weft/ztunnel/upgrade"
)

// upgrader is one side of an upgrade, in a folder that both share.
func (n *node) upgrader(dir string) *upgrade.Upgrade {
	return upgrade.New(upgrade.Options{Dir: dir, Pods: n.Pods, Flows: n.Flows, Shards: shards, Metrics: n.Metrics, Adopted: n.Revise})
}

// succeed puts a new ztunnel, which has pods, in the place of a node's. given says whether the old one has nothing
// left to give.
func (m *mesh) succeed(name string, d state.Delta, pods ...string) (old, next *node, given <-chan bool) {
	m.t.Helper()
	if shards == nil {
		m.t.Skip("connections on crypto/tls cannot be moved")
	}
	dir := m.t.TempDir() + "/handover"
	old, next = m.nodes[name], m.ztunnel(name)
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan bool, 1)
	go func() { over <- old.upgrader(dir).Serve(ctx) }()
	m.t.Cleanup(stop)
	until(m.t, "the old one serves", func() bool {
		i, err := os.Stat(dir + "/handover.sock")
		return err == nil && i.Mode().Perm() == 0o600 // the last thing that is done to it
	})
	next.State.Apply(d)
	next.State.SetSynced()
	for _, p := range pods {
		sa := p[:strings.LastIndexByte(p, '-')]
		if err := next.Pods.Add("uid-"+p, inpod.Info{Name: p, Namespace: "shop", ServiceAccount: sa}, m.netnsFile(m.pods[p])); err != nil {
			m.t.Fatal(err)
		}
	}
	next.upgrader(dir).Take(m.t.Context())
	m.nodes[name] = next
	return old, next, over
}

// A connection goes on in a new ztunnel, first at its client's end, then at its server's: so do its bytes, its books
// and what decides on it.
func TestConnectionsGoOn(t *testing.T) {
	m := shop(t)
	front, cart := workload("n1", "front-1", "10.244.1.1", "fd00:244:1::1"), workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1")
	s := service("cart", "10.96.0.2", 8080, cart)
	s.Carriage = []model.Carriage{{Limits: &model.ConnectionLimits{Connections: new(uint32(1))}}}
	d := state.Delta{Workloads: []*model.Workload{front, cart}, Services: []*model.Service{s}}
	m.apply(d)
	c := m.pods["front-1"].app("10.96.0.2:80")
	talk := func() {
		t.Helper()
		if got, err := say(c, "hello"); err != nil || got != "hello" {
			t.Fatalf("%q %v", got, err)
		}
	}
	talk()
	since := m.nodes["n1"].Flows.Views()[0].Since
	old, next, given := m.succeed("n1", d, "front-1")
	if !<-given {
		t.Fatal("nothing was given")
	}
	talk()
	until(t, "the new one has it in its list", func() bool {
		v := next.Flows.Views()
		return len(v) == 1 && v[0].Since.Equal(since) && v[0].Sent == 10 && v[0].Received == 10 && v[0].Service == s.Hostname
	})
	until(t, "the old one has forgotten it", func() bool { return old.Flows.Len() == 0 })
	refused(t, m.pods["front-1"].app("10.96.0.2:80"), 2*time.Second) // it counts against the limit still

	_, far, given := m.succeed("n2", d, "cart-1")
	if !<-given {
		t.Fatal("nothing was given")
	}
	talk()
	c.Close()
	r := next.record(t, map[string]any{"dst_service": s.Hostname, "flags": "-"})
	if r["bytes_sent"] != 15.0 || r["bytes_received"] != 15.0 {
		t.Errorf("%v", r)
	}
	if r := far.record(t, map[string]any{"direction": "inbound"}); r["bytes_sent"] != 15.0 || r["src_identity"] == "" {
		t.Errorf("%v", r)
	}
	for name, want := range map[string]float64{"opened": 0, "closed": 1} {
		if got := metric(t, far, "weft_tcp_connections_"+name+"_total"); got != want {
			t.Errorf("%v connections %s by the last, want %v", got, name, want)
		}
	}
	if got := metric(t, far, "weft_tcp_sent_bytes_total"); got != 5 {
		t.Errorf("%v bytes counted by the last, want those that it moved", got)
	}
	if n := len(old.log.records(t)); n != 0 {
		t.Errorf("the old one has told of %d connections", n)
	}
}

// What a policy forbids by the time a connection has moved is cut, and so is what it forbids later.
func TestWhatMovedIsJudged(t *testing.T) {
	for name, before := range map[string]bool{"meanwhile": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			m := shop(t)
			c := m.pods["front-1"].app("10.96.0.2:80")
			if _, err := say(c, "hello"); err != nil {
				t.Fatal(err)
			}
			front, cart := workload("n1", "front-1", "10.244.1.1"), workload("n2", "cart-1", "10.244.2.1", "fd00:244:2::1")
			d := state.Delta{Workloads: []*model.Workload{front, cart}, Services: []*model.Service{service("cart", "10.96.0.2", 8080, cart)}}
			forbid := state.Delta{Policies: []*model.Policy{only("payments")}}
			if before {
				d.Policies = forbid.Policies
			}
			_, next, given := m.succeed("n2", d, "cart-1")
			if !<-given {
				t.Fatal("nothing was given")
			}
			if !before {
				if _, err := say(c, "hello"); err != nil {
					t.Fatal(err)
				}
				next.State.Apply(forbid)
			}
			refused(t, c, 2*time.Second)
			next.record(t, map[string]any{"flags": "UAEX", "direction": "inbound"})
		})
	}
}

// A successor that does not know a pod with connections takes none, and they go on where they are.
func TestUnknownPodIsNotTaken(t *testing.T) {
	m := shop(t)
	c := m.pods["front-1"].app("10.96.0.2:80")
	if _, err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	old, next, given := m.succeed("n1", state.Delta{})
	select {
	case <-given:
		t.Fatal("it was given")
	default:
	}
	if _, err := say(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if old.Flows.Len() != 1 || next.Flows.Len() != 0 {
		t.Errorf("%d flows in the old one, %d in the new one", old.Flows.Len(), next.Flows.Len())
	}
	if n := metric(t, next, "weft_upgrade_failures_total"); n != 1 {
		t.Errorf("%v failures counted", n)
	}
}
