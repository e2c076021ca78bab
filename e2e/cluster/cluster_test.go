package cluster

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Hidden(os.Args[1:]) // a node begins in this binary
	os.Exit(m.Run())
}

// testIndex is of the cluster that these tests raise; nobody else takes it.
const testIndex = 0

// A cluster whose raising is interrupted, at any moment, leaves nothing; and so does one that came up.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv("E2E_CLUSTER") == "" {
		t.Skip("raises clusters: `make e2e` runs it")
	}
	o := Options{Index: testIndex, Nodes: 1}
	if _, err := Build(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	clean := func() {
		t.Helper()
		left, err := Leftovers(o)
		if err != nil || len(left) > 0 {
			t.Fatalf("left behind: %v %v", left, err)
		}
	}
	t.Cleanup(func() { _ = Down(context.Background(), o) })
	if err := Down(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, after := range []time.Duration{time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := Up(ctx, o)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("interrupted after %v: %v", after, err)
		}
		clean()
	}
	c, err := Up(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Up(t.Context(), o); err == nil {
		t.Error("the same cluster was raised twice")
	}
	for name, runs := range c.Status() {
		if !runs {
			t.Errorf("%s does not run", name)
		}
	}
	if err := os.Remove(c.run("state.json")); err != nil { // as if the tool had died before it noted anything
		t.Fatal(err)
	}
	if err := Down(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	clean()
	if _, err := Open(o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a cluster that is down opens: %v", err)
	}
}
