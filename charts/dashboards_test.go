package charts_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Every metric and label of a dashboard is one that a program has.
func TestDashboardsShowWhatThereIs(t *testing.T) {
	words := literals(t)
	known := func(metric string) bool {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			name, ok := strings.CutSuffix(metric, suffix)
			if !ok {
				continue
			}
			for _, prefix := range []string{"", "weft_", "weft_controller_", "weft_xds_"} { // as they are joined in the code
				if rest, ok := strings.CutPrefix(name, prefix); ok && words[rest] {
					return true
				}
			}
		}
		return false
	}
	if known("weft_no_such_total") || !known("weft_request_duration_milliseconds_bucket") {
		t.Fatal("the test cannot tell")
	}
	metric, label := regexp.MustCompile(`\bweft_[a-z_]+`), regexp.MustCompile(`([a-z_]+)=~?"|by \(([a-z_, ]+)\)|\{\{([a-z_]+)\}\}`)
	files, err := filepath.Glob("weft/files/dashboards/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("dashboards: %v %v", files, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var board struct {
			UID, Title string
			Panels     []struct {
				Title   string
				Targets []struct{ Expr, LegendFormat string }
			}
		}
		if err := json.Unmarshal(data, &board); err != nil || board.UID == "" {
			t.Fatalf("%s: %v", file, err)
		}
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				names := metric.FindAllString(target.Expr, -1)
				if len(names) == 0 {
					t.Errorf("%s: %s shows no metric of ours: %s", file, p.Title, target.Expr)
				}
				for _, n := range names {
					if !known(n) {
						t.Errorf("%s: %s: no program has the metric %s", file, p.Title, n)
					}
				}
				for _, m := range label.FindAllStringSubmatch(target.Expr+" "+target.LegendFormat, -1) {
					for _, l := range strings.Split(m[1]+m[2]+m[3], ",") {
						if l = strings.TrimSpace(l); l != "le" && l != "instance" && !words[l] {
							t.Errorf("%s: %s: no metric has the label %s", file, p.Title, l)
						}
					}
				}
			}
		}
	}
}

// literals are the strings that stand in the programs' code.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	words, set := map[string]bool{}, token.NewFileSet()
	for _, dir := range []string{"../pkg", "../cmd", "../ztunnel", "../waypoint", "../bpf"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if s, err := strconv.Unquote(l.Value); err == nil {
						words[s] = true
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return words
}
