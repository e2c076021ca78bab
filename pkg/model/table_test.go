package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestTableIsAMap makes random changes to tables and to maps, in place and into copies, and compares: each copy, and
// what it was made from.
func TestTableIsAMap(t *testing.T) {
	d := rand.New(rand.NewPCG(1, 2))
	name := func() string { return fmt.Sprint("n", d.IntN(3*tableParts)) }
	type pair struct {
		table Table[int]
		plain map[string]int
	}
	all := []pair{{plain: map[string]int{}}}
	for range 3000 {
		name, v := name(), d.IntN(100)
		all[0].table.Set(name, v)
		all[0].plain[name] = v
		if d.IntN(3) == 0 {
			name = fmt.Sprint("n", d.IntN(3*tableParts))
			all[0].table.Delete(name)
			delete(all[0].plain, name)
		}
	}
	for range 40 {
		from := all[d.IntN(len(all))]
		set, gone := map[string]int{}, []string{}
		plain := maps.Clone(from.plain)
		for range d.IntN(30) {
			gone = append(gone, name())
			delete(plain, gone[len(gone)-1])
		}
		for range d.IntN(30) {
			set[name()] = d.IntN(100)
		}
		maps.Copy(plain, set)
		next := pair{from.table.With(set, gone...), plain}
		if d.IntN(4) == 0 {
			next.table = next.table.Clone()
			next.table.Set("own", 1)
			next.plain["own"] = 1
		}
		all = append(all, next)
	}
	for i, p := range all {
		if got := maps.Collect(p.table.All()); !maps.Equal(got, p.plain) || p.table.Len() != len(p.plain) {
			t.Errorf("table %d: %d entries (it says %d), want %d", i, len(got), p.table.Len(), len(p.plain))
		}
		if !slices.Equal(p.table.Names(), slices.Sorted(maps.Keys(p.plain))) {
			t.Errorf("table %d: its names are not those of the map", i)
		}
		for name, want := range p.plain {
			if got := p.table.Get(name); got != want {
				t.Errorf("table %d: %s is %d, want %d", i, name, got, want)
			}
		}
	}
}

func TestTableInJSON(t *testing.T) {
	var have, got Table[string]
	for _, n := range []string{"b", "a", "c"} {
		have.Set(n, "of "+n)
	}
	text, err := json.Marshal(struct{ T Table[string] }{have})
	if want := `{"T":{"a":"of a","b":"of b","c":"of c"}}`; err != nil || string(text) != want {
		t.Fatalf("%s (%v), want %s", text, err, want)
	}
	got.Set("before", "x")
	if err := json.Unmarshal([]byte(`{"a":"of a","b":"of b","c":"of c"}`), &got); err != nil || !slices.Equal(got.Sorted(), have.Sorted()) {
		t.Errorf("%v (%v), want %v", got.Sorted(), err, have.Sorted())
	}
}

func TestEmptyTable(t *testing.T) {
	var none Table[*Workload]
	none.Delete("x")
	if v, ok := none.Find("x"); v != nil || ok || none.Len() != 0 || len(none.Sorted()) != 0 {
		t.Error("the zero table is not empty")
	}
	if text, err := json.Marshal(none); string(text) != "{}" {
		t.Errorf("%s (%v), want {}", text, err)
	}
	if w := none.With(map[string]*Workload{"x": {}}); w.Len() != 1 || none.Len() != 0 {
		t.Error("a copy of the zero table cannot be changed")
	}
}
