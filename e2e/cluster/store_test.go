package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A component is built once per content of its inputs, also by two builders at once, and a build that fails leaves
// nothing that looks complete.
func TestStore(t *testing.T) {
	src := &source{t.TempDir()}
	input := func(text string) {
		if err := os.WriteFile(filepath.Join(src.dir, "in"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	store := Store{Dir: t.TempDir()}
	var mu sync.Mutex
	built := 0
	c := component{"thing", []string{"in"}, func(_ context.Context, _ *source, into string) error {
		mu.Lock()
		built++
		mu.Unlock()
		return os.WriteFile(filepath.Join(into, "out"), nil, 0o644)
	}}
	build := func() string {
		dir, err := store.build(t.Context(), src, c)
		if err != nil {
			t.Error(err)
		}
		return dir
	}
	input("one")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { build() })
	}
	wg.Wait()
	first := build()
	if built != 1 {
		t.Errorf("the same inputs were built %d times", built)
	}
	input("two")
	if second := build(); second == first || built != 2 {
		t.Errorf("other inputs: %s after %s, built %d times", second, first, built)
	}
	input("three")
	c.make = func(_ context.Context, _ *source, into string) error {
		return errors.Join(os.WriteFile(filepath.Join(into, "half"), nil, 0o644), errors.New("no disk"))
	}
	if dir, err := store.build(t.Context(), src, c); err == nil {
		t.Errorf("a build that failed gave %s", dir)
	}
	entries, err := os.ReadDir(store.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 3 { // two folders and the lock
		t.Errorf("the store holds %v", entries)
	}
}

// Every file below config/ can be filled, and every component has inputs that are there.
func TestSources(t *testing.T) {
	src, err := findSource()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range components() {
		if hash, err := src.hash(c.inputs); err != nil || len(hash) != 12 {
			t.Errorf("%s: hash %q, %v", c.name, hash, err)
		}
	}
	c := &Cluster{state: state{ProxyMode: "nftables"}}
	files, err := configs.ReadDir("config")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, err := fill(f.Name(), c.values(1)); err != nil {
			t.Error(err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Index: -1}, {Index: 10}, {Nodes: -1}, {Nodes: 51}, {ProxyMode: "ipvs"}} {
		if err := o.complete(); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}
