package translate_test

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/waypoint/bootstrap"
	"github.com/weftmesh/weft/waypoint/internal/testmesh"
	"github.com/weftmesh/weft/waypoint/translate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// input is a golden test's input.
type input struct {
	Snapshot *model.Snapshot
	Config   struct {
		Self    *model.Workload
		Refused []struct {
			translate.Source
			Why string
		}
	}
}

// Every testdata/NAME.yaml is translated for the waypoint shop/wp; the result is NAME.golden.yaml, and
// the real Envoy has to accept it. Only empty.golden.yaml shows the listeners: they are always the same.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".golden.yaml") {
			continue
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res, problems := translateFile(t, file)
			got := render(t, res, problems, name == "empty")
			golden := strings.TrimSuffix(file, ".yaml") + ".golden.yaml"
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("run with -update if this is meant (-want +got):\n%s", diff)
			}
			validate(t, res)
		})
	}
}

func translateFile(t *testing.T, file string) (*translate.Resources, []translate.Problem) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	in := input{Snapshot: model.NewSnapshot()}
	if err := yaml.UnmarshalStrict(b, &in); err != nil {
		t.Fatal(err)
	}
	cfg := translate.Config{Self: in.Config.Self, Refused: map[translate.Source]string{}}
	for _, r := range in.Config.Refused {
		cfg.Refused[r.Source] = r.Why
	}
	return translate.Translate(in.Snapshot, "shop/wp", cfg)
}

// render writes the resources as YAML, listed by type.
func render(t *testing.T, r *translate.Resources, problems []translate.Problem, listeners bool) []byte {
	t.Helper()
	out := map[string]any{}
	if len(problems) > 0 {
		out["problems"] = problems
	}
	list := func(name string, n int, get func(int) proto.Message) {
		var all []any
		for i := range n {
			b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(get(i))
			if err != nil {
				t.Fatal(err)
			}
			var v any
			if err := json.Unmarshal(b, &v); err != nil {
				t.Fatal(err)
			}
			all = append(all, v)
		}
		out[name] = all
	}
	if listeners {
		list("listeners", len(r.Listeners), func(i int) proto.Message { return r.Listeners[i] })
	}
	list("clusters", len(r.Clusters), func(i int) proto.Message { return r.Clusters[i] })
	list("endpoints", len(r.Endpoints), func(i int) proto.Message { return r.Endpoints[i] })
	list("routes", len(r.Routes), func(i int) proto.Message { return r.Routes[i] })
	list("scopes", len(r.Scopes), func(i int) proto.Message { return r.Scopes[i] })
	b, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// validate asks Envoy.
func validate(t *testing.T, r *translate.Resources) {
	t.Helper()
	binary := testmesh.Binary(t)
	dir := t.TempDir()
	cfg, err := translate.Static(r, bootstrap.Config(bootstrap.Options{NodeID: "waypoint~shop/wp~0", Gateway: "shop/wp", RunDir: "/tmp"}))
	if err != nil {
		t.Fatal(err)
	}
	file := testmesh.WriteBootstrap(t, dir, cfg)
	out, err := exec.Command(binary, "--mode", "validate", "-c", file, "-l", "warn").CombinedOutput()
	if err != nil {
		t.Errorf("Envoy refuses it: %v\n%s", err, out)
	}
}

// Equal snapshots give equal bytes, whatever the order of Go's maps.
func TestDeterministic(t *testing.T) {
	first, p := translateFile(t, "testdata/everything.yaml")
	want := render(t, first, p, true)
	for range 20 {
		res, p := translateFile(t, "testdata/everything.yaml")
		if diff := cmp.Diff(string(want), string(render(t, res, p, true))); diff != "" {
			t.Fatalf("not the same twice:\n%s", diff)
		}
	}
}
