package xds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// TestUpdateIsSetSnapshot publishes random changes by their names, and compares what there is with what a server has
// that was given everything. What does not differ is not sent.
func TestUpdateIsSetSnapshot(t *testing.T) {
	d := rand.New(rand.NewPCG(5, 6))
	w := newWorkloads()
	last := model.NewSnapshot()
	if err := w.set(last, nil); err != nil {
		t.Fatal(err)
	}
	for step := range 500 {
		next := *last
		what := &model.Changes{Since: last}
		for range d.IntN(4) {
			uid := fmt.Sprint("u", d.IntN(20))
			what.Workloads = append(what.Workloads, uid)
			set := map[string]*model.Workload{uid: {UID: uid, Name: uid, Namespace: "shop", Unhealthy: d.IntN(2) == 0}}
			if d.IntN(4) == 0 {
				next.Workloads = next.Workloads.With(nil, uid)
			} else {
				next.Workloads = next.Workloads.With(set)
			}
		}
		if d.IntN(8) == 0 { // something else, and the names are of another snapshot
			next.Services = maps.Clone(next.Services)
			s := &model.Service{Name: "s", Namespace: "shop", Hostname: fmt.Sprint("s", d.IntN(5))}
			next.Services[s.Key()] = s
			what = &model.Changes{Since: model.NewSnapshot()}
		}
		before := len(w.addresses.log)
		if err := w.set(&next, what); err != nil {
			t.Fatal(err)
		}
		whole := newWorkloads()
		if err := whole.set(&next, nil); err != nil {
			t.Fatal(err)
		}
		versions := func(c *deltaCache) map[string]string {
			out := map[string]string{}
			for name, r := range c.resources {
				out[name] = r.version
			}
			return out
		}
		if got, want := versions(w.addresses), versions(whole.addresses); !maps.Equal(got, want) {
			t.Fatalf("step %d: %v, want %v", step, got, want)
		}
		if sent := len(w.addresses.log) - before; sent > len(what.Workloads)+1 && what.Since == last {
			t.Errorf("step %d: %d were sent for changes of %v", step, sent, what.Workloads)
		}
		last = &next
	}
}
