package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

// TestEverythingIsMeasured runs the whole benchmark in miniature: every test, the mesh's paths, the peers that
// need no program from elsewhere, and the scale of a small mesh. It asserts that there are figures, not which.
func TestEverythingIsMeasured(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI has to run this as root")
		}
		t.Skip("raises a lab: needs root")
	}
	bin := t.TempDir()
	for dir, packages := range map[string][]string{
		"../..": {"./cmd/weftctl", "./cmd/weft-controller", "./cmd/weft-agent", "./cmd/weft-ztunnel", "./cmd/weft-waypoint"},
		"..":    {"./bench/load", "./bench/naive"},
	} {
		for _, p := range packages {
			out := filepath.Join(bin, filepath.Base(p))
			if dir == ".." {
				out = filepath.Join(bin, "weft-"+filepath.Base(p))
			}
			cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, p)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
			if text, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("build %s: %v\n%s", p, err, text)
			}
		}
	}
	file := filepath.Join(t.TempDir(), "bench.json")
	o := options{name: "wftbench", rounds: 1, bytes: 4 << 20, seconds: 0.2, idle: 50, scale: []int{200}, fleetOf: []int{200}, ztunnels: 20, bin: bin,
		tests: append(testNames(), "idle", "scale", "fleet", "noisy"), paths: []string{"l4", "naive-go", "near", "same"}, envoy: os.Getenv("WEFT_ENVOY"), peers: []string{"peers"}, out: file}
	if o.envoy != "" {
		o.paths = append(o.paths, "l7", "envoy")
	} else if os.Getenv("CI") == "true" {
		t.Fatal("CI has to name an Envoy in WEFT_ENVOY")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 7*time.Minute)
	defer cancel()
	if err := run(ctx, o); err != nil {
		t.Fatal(err)
	}
	checkFigures(t, file, o.paths)
	if _, err := os.Stat(lab.Layout{Name: o.name}.Path()); !os.IsNotExist(err) {
		t.Errorf("the lab is still there: %v", err)
	}
}

func checkFigures(t *testing.T, file string, paths []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatal(err)
	}
	if want := 2 + (len(noises)-1)*len(pairings); len(r.Neighbours) != want {
		t.Errorf("%d figures of noisy neighbours, want %d", len(r.Neighbours), want)
	}
	for _, n := range r.Neighbours {
		if len(n.P99us) != 1 || n.P99us[0] <= 0 || n.Over != "" && n.Made[0] <= 0 {
			t.Errorf("no figures of a neighbour: %+v", n)
		}
	}
	if len(r.Near) == 0 {
		t.Error("pods of one node were not compared")
	}
	for _, path := range append([]string{"direct"}, paths...) {
		if path == "near" || path == "same" {
			continue // in the comparison
		}
		for _, test := range tests {
			if test.args == nil && path != "direct" && path != "l4" {
				continue // first connections: not everybody has them
			}
			for _, v := range test.values {
				s := r.find(test.name, v.name, path)
				if v.overhead && path == "direct" {
					continue
				}
				if s == nil || len(s.Rounds) != 1 || (!v.machine && !v.overhead && s.Median <= 0) {
					t.Errorf("no figure of %s, %s over %s: %+v", test.name, v.name, path, s)
				}
			}
		}
		if path != "direct" && r.find("idle", "memory", path) == nil {
			t.Errorf("no memory of idle connections over %s", path)
		}
	}
	if slices.Contains(paths, "envoy") && len(r.Hops) != len(hopFigures) {
		t.Errorf("the waypoint beside Envoy: %+v, left out %v", r.Hops, r.LeftOut)
	}
	if len(r.Scale) != 1 || r.Scale[0].Ztunnel <= 0 || r.Scale[0].Control <= 0 || r.Scale[0].Synced <= 0 || r.Scale[0].Change.Bytes <= 0 {
		t.Errorf("no figures of scale: %+v", r.Scale)
	}
	if len(r.Fleet) != 1 || r.Fleet[0].Started <= 0 || r.Fleet[0].P99 <= 0 || r.Fleet[0].Missing != 0 {
		t.Errorf("no figures of a fleet: %+v", r.Fleet)
	}
}
