package controller

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/source"
)

var update = flag.Bool("update", false, "rewrite testdata/*.out.yaml")

// load reads manifests as a folder source does.
func load(t testing.TB, files ...string) (*source.Objects, []source.Problem) {
	t.Helper()
	d, err := source.Open(source.Options{Dirs: files})
	if err != nil {
		t.Fatal(err)
	}
	return d.Load()
}

// outcome is all that comes out of a compilation.
type outcome struct {
	Problems []string       `json:"problems,omitempty"` // of the files
	Snapshot map[string]any `json:"snapshot"`           // without what is empty
	Statuses []Status       `json:"statuses,omitempty"`
	Findings []string       `json:"findings,omitempty"` // of Analyze
}

func compileFiles(t testing.TB, files ...string) (*model.Snapshot, []Status, []byte) {
	t.Helper()
	objs, problems := load(t, files...)
	snap, statuses := Compile(objs, Config{})
	var o outcome
	for _, p := range problems {
		o.Problems = append(o.Problems, p.String())
	}
	for _, f := range Analyze(objs, problems, Config{}) {
		o.Findings = append(o.Findings, f.String())
	}
	o.Snapshot = plain(t, snap)
	o.Statuses = statuses
	data, err := yaml.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return snap, statuses, data
}

// plain drops what is the same in every snapshot.
func plain(t testing.TB, snap *model.Snapshot) map[string]any {
	t.Helper()
	data, err := yaml.Marshal(snap)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := yaml.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	for k, v := range out {
		if m, ok := v.(map[string]any); ok && len(m) == 0 || k == "TrustDomain" || k == "ClusterDomain" {
			delete(out, k)
		}
	}
	return out
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, in := range files {
		name := strings.TrimSuffix(filepath.Base(in), ".in.yaml")
		t.Run(name, func(t *testing.T) {
			_, _, got := compileFiles(t, in)
			out := strings.TrimSuffix(in, ".in.yaml") + ".out.yaml"
			if *update {
				if err := os.WriteFile(out, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(out)
			if err != nil {
				t.Fatalf("%v: run go test -update and read what it wrote", err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("differs from %s (-want +got); when it should, run go test -update:\n%s", out, d)
			}
			_, _, again := compileFiles(t, in)
			if string(again) != string(got) {
				t.Errorf("a second compilation gave something else:\n%s", cmp.Diff(string(got), string(again)))
			}
		})
	}
}
