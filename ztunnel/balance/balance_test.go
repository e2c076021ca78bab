package balance

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/model"
)

// clock is set by hand.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func (c *clock) pass(d time.Duration) { c.t = c.t.Add(d) }

func newBench() (*Balancer, *clock) {
	c := &clock{t: time.Unix(1000, 0)}
	return New(c.now), c
}

var db = &model.Service{Namespace: "shop", Hostname: "db"}

func pods(names ...string) (out []*model.Workload) {
	for _, n := range names {
		out = append(out, &model.Workload{UID: n, Node: "n2"})
	}
	return out
}

func client(ip string) *model.Workload {
	return &model.Workload{UID: "c", Namespace: "shop", ServiceAccount: "web", Addresses: []netip.Addr{netip.MustParseAddr(ip)}}
}

// Connections that stay are spread evenly, whichever end first; near endpoints come before idle ones.
func TestPickSpreadsLivingConnections(t *testing.T) {
	s, _ := newBench()
	var pods []*model.Workload
	for _, name := range []string{"a", "b", "c"} {
		pods = append(pods, &model.Workload{UID: name, Node: "n2"})
	}
	count, ends := map[string]int{}, []func(){}
	for range 300 {
		w := s.Pick(nil, nil, nil, pods)
		count[w.UID]++
		end, _ := s.Carry(w, 0)
		ends = append(ends, end)
	}
	for uid, n := range count { // at random alone some 8 more or less would be usual
		if n < 96 || n > 104 {
			t.Errorf("%s has %d of 300 connections", uid, n)
		}
	}
	svc := &model.Service{Preference: []model.Scope{model.ScopeNode}}
	pods[0].Node = "n1"
	if w := s.Pick(svc, nil, &model.Workload{Node: "n1"}, pods); w != pods[0] {
		t.Errorf("%s was preferred to the near one", w.UID)
	}
	for _, end := range ends {
		end()
	}
	if len(s.loads.n) != 0 {
		t.Errorf("still counted: %v", s.loads.n)
	}
	if w := s.Pick(nil, nil, nil, nil); w != nil {
		t.Errorf("%v out of nothing", w)
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	b, _ := newBench()
	how := &model.Carriage{Balance: &model.Balance{Algorithm: model.RoundRobin}}
	got := ""
	for range 6 {
		got += b.Pick(db, how, nil, pods("a", "b", "c")).UID
	}
	if got != "abcabc" {
		t.Errorf("%s", got)
	}
	if w := b.Pick(db, how, nil, nil); w != nil {
		t.Errorf("%v out of nothing", w)
	}
}

// A caller stays with its endpoint when another one goes, and callers are spread.
func TestHashIsSticky(t *testing.T) {
	b, _ := newBench()
	how := &model.Carriage{Balance: &model.Balance{Algorithm: model.Maglev, Hash: &model.Hash{SourceIP: true}}}
	all, used, moved := pods("a", "b", "c", "d"), map[string]int{}, 0
	for i := range 200 {
		c := client(fmt.Sprintf("10.0.0.%d", i))
		first := b.Pick(db, how, c, all)
		used[first.UID]++
		if again := b.Pick(db, how, c, all); again != first {
			t.Fatal("not the same twice")
		}
		if w := b.Pick(db, how, c, all[:3]); w != first && first.UID != "d" {
			moved++
		}
	}
	if len(used) != 4 || moved != 0 {
		t.Errorf("used %v, %d moved without need", used, moved)
	}
	how.Balance.Hash = &model.Hash{Identity: true}
	if b.Pick(db, how, client("10.0.0.1"), all) != b.Pick(db, how, client("10.0.0.2"), all) {
		t.Error("one identity has two endpoints")
	}
}

// A new endpoint gets little at first and its share in the end; one that was always there gets its share.
func TestSlowStart(t *testing.T) {
	b, c := newBench()
	s := &model.SlowStart{Window: 100 * time.Second, Aggression: 1, MinPercent: 10}
	all := pods("old", "new")
	b.Came(all[1])
	for _, step := range []struct {
		after time.Duration
		want  float64
	}{{0, 0.1}, {50 * time.Second, 0.5}, {49 * time.Second, 0.99}, {time.Second, 1}, {time.Hour, 1}} {
		c.pass(step.after)
		if w := b.weight(all[1], s); w < step.want-0.001 || w > step.want+0.001 {
			t.Errorf("after %v more: weight %v, want %v", step.after, w, step.want)
		}
		if w := b.weight(all[0], s); w != 1 {
			t.Errorf("the old one's weight is %v", w)
		}
	}
	b.Came(all[1])
	how := &model.Carriage{Balance: &model.Balance{Algorithm: model.LeastConnections, SlowStart: s}}
	count := map[string]int{}
	for range 100 {
		w := b.Pick(db, how, nil, all)
		count[w.UID]++
		if _, ok := b.Carry(w, 0); !ok {
			t.Fatal("refused")
		}
	}
	if n := count["new"]; n < 5 || n > 15 { // a tenth of the other's
		t.Errorf("%v", count)
	}
	b.roll = func() float64 { return 0.5 } // above the new one's weight
	how.Balance.Algorithm = model.RoundRobin
	for range 10 {
		if w := b.Pick(db, how, nil, all); w.UID != "old" {
			t.Error("the new one had its turn")
		}
	}
	b.Left("new")
	if w := b.weight(all[1], s); w != 1 {
		t.Error("not forgotten")
	}
}

func TestLimits(t *testing.T) {
	b, _ := newBench()
	how := &model.Carriage{Limits: &model.ConnectionLimits{PerEndpoint: new(uint32(2))}}
	all := pods("a", "b")
	var ends []func()
	for range 4 {
		end, ok := b.Carry(b.Pick(db, how, nil, all), 2)
		if !ok {
			t.Fatal("refused too early")
		}
		ends = append(ends, end)
	}
	if w := b.Pick(db, how, nil, all); w != nil {
		t.Errorf("%s is full", w.UID)
	}
	if _, ok := b.Carry(all[0], 2); ok {
		t.Error("one too many")
	}
	ends[0]()
	if w := b.Pick(db, how, nil, all); w == nil {
		t.Error("one has gone")
	}
	p := Port{"shop/db", 0}
	leave, ok := b.Enter(p, 1)
	if _, again := b.Enter(p, 1); !ok || again {
		t.Errorf("entered %v, and again %v", ok, again)
	}
	leave()
	if _, ok := b.Enter(p, 1); !ok {
		t.Error("left, but it is full")
	}
}

func BenchmarkPickWithoutPolicy(b *testing.B) {
	x, _ := newBench()
	all := pods("a", "b", "c")
	b.ReportAllocs()
	for b.Loop() {
		end, _ := x.Carry(x.Pick(db, nil, nil, all), 0)
		end()
	}
}

// Who has no policy pays nothing for those who have.
func TestPickWithoutPolicyAllocatesNothing(t *testing.T) {
	x, _ := newBench()
	all := pods("a", "b", "c")
	if n := testing.AllocsPerRun(100, func() { x.Pick(db, nil, nil, all) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
