package index

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

func at(uid, node, zone, region string, healthy bool) *model.Workload {
	return &model.Workload{UID: uid, Node: node, Locality: model.Locality{Region: region, Zone: zone}, Unhealthy: !healthy, Network: "n"}
}

func TestPick(t *testing.T) {
	client := at("client", "node1", "z1", "r1", true)
	here := at("here", "node1", "z1", "r1", true)
	zone := at("zone", "node2", "z1", "r1", true)
	region := at("region", "node3", "z2", "r1", true)
	far := at("far", "node4", "z1", "r2", true) // a zone of the same name elsewhere
	sick := at("sick", "node1", "z1", "r1", false)
	all := []*model.Workload{far, region, sick, zone, here}
	near := []model.Scope{model.ScopeNetwork, model.ScopeRegion, model.ScopeZone, model.ScopeNode}
	for _, c := range []struct {
		name   string
		s      *model.Service
		client *model.Workload
		from   []*model.Workload
		want   string // all that may come out
	}{
		{"nobody", &model.Service{}, client, nil, ""},
		{"only sick", &model.Service{}, client, []*model.Workload{sick}, ""},
		{"sick published", &model.Service{PublishNotReady: true}, client, []*model.Workload{sick}, "sick "},
		{"no preference", &model.Service{}, client, all, "far region zone here "},
		{"no service", nil, client, all, "far region zone here "},
		{"no client", &model.Service{Preference: near}, nil, all, "far region zone here "},
		{"no client, strict", &model.Service{Preference: near, StrictPreference: true}, nil, all, ""},
		{"nearest", &model.Service{Preference: near}, client, all, "here "},
		{"next", &model.Service{Preference: near}, client, all[:4], "zone "},
		{"next but one", &model.Service{Preference: near}, client, all[:3], "region "},
		{"far after all", &model.Service{Preference: near}, client, all[:1], "far "},
		{"sick is not near", &model.Service{Preference: near}, client, []*model.Workload{sick, far}, "far "},
		{"strict", &model.Service{Preference: near, StrictPreference: true}, client, all, "here "},
		{"strict, nobody near", &model.Service{Preference: near, StrictPreference: true}, client, all[:4], ""},
		{"node only", &model.Service{Preference: []model.Scope{model.ScopeNode}}, client, all[:4], "far region zone "},
		{"region only", &model.Service{Preference: []model.Scope{model.ScopeRegion}}, client, all, "region zone here "},
		{"order counts", &model.Service{Preference: []model.Scope{model.ScopeNode, model.ScopeRegion}}, client, all[:4], "far region zone "},
		{"unknown scope", &model.Service{Preference: []model.Scope{"planet"}}, client, all, "far region zone here "},
		{"unknown scope, strict", &model.Service{Preference: []model.Scope{"planet"}, StrictPreference: true}, client, all, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := map[string]bool{}
			for range 200 {
				if w := Pick(c.s, c.client, c.from, rand.IntN); w != nil {
					seen[w.UID] = true
				}
			}
			got := ""
			for _, w := range append(append([]*model.Workload(nil), far, region, sick, zone), here) {
				if seen[w.UID] {
					got += w.UID + " "
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestNear(t *testing.T) {
	a := &model.Workload{Node: "n", Network: "w", Cluster: "c", Locality: model.Locality{Region: "r", Zone: "z", Subzone: "s"}}
	b := *a
	for _, s := range []model.Scope{model.ScopeNetwork, model.ScopeRegion, model.ScopeZone, model.ScopeSubzone, model.ScopeNode, model.ScopeCluster} {
		if !near(s, a, &b) {
			t.Errorf("%s: the same place", s)
		}
	}
	for s, edit := range map[model.Scope]func(*model.Workload){
		model.ScopeNetwork: func(w *model.Workload) { w.Network = "x" }, model.ScopeRegion: func(w *model.Workload) { w.Locality.Region = "x" },
		model.ScopeZone: func(w *model.Workload) { w.Locality.Region = "x" }, model.ScopeSubzone: func(w *model.Workload) { w.Locality.Zone = "x" },
		model.ScopeNode: func(w *model.Workload) { w.Node = "x" }, model.ScopeCluster: func(w *model.Workload) { w.Cluster = "x" },
	} {
		c := *a
		if edit(&c); near(s, a, &c) {
			t.Errorf("%s: another place", s)
		}
	}
	if near(model.ScopeNode, &model.Workload{}, &model.Workload{}) {
		t.Error("nowhere is not one node")
	}
}

// Each of the winners gets its share.
func TestPickIsEven(t *testing.T) {
	var ws []*model.Workload
	for i := range 5 {
		ws = append(ws, at(fmt.Sprint(i), "n", "z", "r", i != 2))
	}
	count := map[string]int{}
	d := rand.New(rand.NewPCG(1, 2))
	for range 40_000 {
		count[Pick(nil, nil, ws, d.IntN).UID]++
	}
	for _, w := range ws {
		if n := count[w.UID]; w.Unhealthy && n > 0 || !w.Unhealthy && (n < 9_500 || n > 10_500) {
			t.Errorf("%s: %d of 40000", w.UID, n)
		}
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	client := at("client", "n", "z", "r", true)
	s := &model.Service{Preference: []model.Scope{model.ScopeRegion, model.ScopeZone}}
	ws := []*model.Workload{at("a", "n", "z", "r", true), at("b", "n", "z", "r", true)}
	if n := testing.AllocsPerRun(100, func() { Pick(s, client, ws, rand.IntN) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
