package controller_test

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/pkg/controller"
	"github.com/weftmesh/weft/pkg/source"
)

var yamlBlock = regexp.MustCompile("(?ms)^```yaml[^\n]*\n(.*?)^```$")

// expectRefused is the first line of a block that is not to be taken.
var expectRefused = regexp.MustCompile("^# expect: refused: (.+)\n")

// notApplied finds objects that are written by indentation, where no test would apply them.
var notApplied = regexp.MustCompile(`(?m)^ {4,}(?:kind|apiVersion): \S*`)

// TestPages applies every YAML block of the pages in docs/tasks to the shop of examples, behind its waypoint: what
// a page tells people to write is understood and in force. A block that begins with "# expect: refused: WORDS" is not, and
// WORDS are part of what is said of it: a condition's reason, or a message.
func TestPages(t *testing.T) {
	pages, err := filepath.Glob("../../docs/tasks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(pages) < 20 {
		t.Errorf("only %d pages", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		blocks := yamlBlock.FindAllStringSubmatch(string(text), -1)
		for _, found := range notApplied.FindAllString(yamlBlock.ReplaceAllString(string(text), ""), -1) {
			t.Errorf("%s: %q is in no block of YAML, so nothing applies it", page, found)
		}
		if len(blocks) == 0 {
			t.Errorf("%s has no block of YAML to apply", page)
		}
		for _, b := range blocks {
			line := 1 + strings.Count(string(text[:strings.Index(string(text), b[1])]), "\n")
			t.Run(name, func(t *testing.T) { applyBlock(t, page, line, b[1]) })
		}
	}
}

func applyBlock(t *testing.T, page string, line int, block string) {
	file := filepath.Join(t.TempDir(), "page.yaml")
	if err := os.WriteFile(file, []byte(block), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := source.Open(source.Options{Dirs: append(shopWithWaypoint(t), file)})
	if err != nil {
		t.Fatal(err)
	}
	objects, problems := src.Load()
	var wrong []string
	for _, p := range problems {
		if p.File == file && p.Severity == source.Error {
			wrong = append(wrong, p.String())
		}
	}
	_, statuses := controller.Compile(objects, controller.Config{})
	for i := range statuses {
		if s := &statuses[i]; s.File == file {
			wrong = append(wrong, notInForce(s)...)
		}
	}
	said := strings.Join(wrong, "\n")
	switch why := expectRefused.FindStringSubmatch(block); {
	case strings.HasPrefix(block, "# expect") && why == nil:
		t.Errorf("%s:%d: write # expect: refused: and the reason, or a part of the message", page, line)
	case why != nil && !strings.Contains(said, why[1]):
		t.Errorf("%s:%d: the page says that this is refused: %s; but what is said is %q", page, line, why[1], said)
	case why == nil && said != "":
		t.Errorf("%s:%d:\n%s", page, line, said)
	}
}

// shopWithWaypoint are the files of the shop after step 5 of the demo, without its route.
func shopWithWaypoint(t *testing.T) []string {
	t.Helper()
	const steps = "../../examples/steps/5-waypoint/"
	out := []string{steps + "waypoint.yaml", steps + "namespace.yaml"}
	files, err := filepath.Glob("../../examples/shop/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) != "namespace.yaml" { // the step replaces it
			out = append(out, f)
		}
	}
	return out
}

// notInForce lists the conditions that say no.
func notInForce(s *controller.Status) []string {
	var out []string
	conditions := s.Conditions
	for _, p := range s.Parents {
		conditions = append(conditions, p.Conditions...)
	}
	for _, c := range conditions {
		if c.Status == metav1.ConditionFalse && c.Reason != "DryRun" {
			out = append(out, s.Key()+": "+c.Type+": "+c.Reason+": "+c.Message)
		}
	}
	return out
}

var testName = regexp.MustCompile(`\bTest[A-Z]\w+`)

// TestFeaturesAreProved holds docs/features.md to the tests that it names.
func TestFeaturesAreProved(t *testing.T) {
	page, err := os.ReadFile("../../docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]bool{}
	err = filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "build" || d.Name() == ".git") {
			return cmp.Or(err, filepath.SkipDir)
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, name := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			written[string(name[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := testName.FindAllString(string(page), -1)
	if len(named) < 50 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, name := range named {
		if !written[name] {
			t.Errorf("docs/features.md names %s, which is not there", name)
		}
	}
	for _, what := range unproved(string(page)) {
		t.Errorf("docs/features.md: %q names no test: write one, or ○ where Weft does not do it", what)
	}
	for _, link := range regexp.MustCompile(`\]\((tasks/[a-z0-9-]+\.md)\)`).FindAllSubmatch(page, -1) {
		if _, err := os.Stat("../../docs/" + string(link[1])); err != nil {
			t.Error(err)
		}
	}
}

// unproved are the features that a page says Weft has, without a test.
func unproved(page string) []string {
	var out []string
	for _, row := range regexp.MustCompile(`(?m)^\|.*\|$`).FindAllString(page, -1)[2:] { // without its head
		cells := strings.Split(row, "|")
		if len(cells) < 4 || !strings.HasPrefix(strings.TrimSpace(cells[2]), "○") && !testName.MatchString(cells[3]) {
			out = append(out, row)
		}
	}
	return out
}

// A row without a test is found, unless it says that the feature is not there.
func TestUnprovedFeatures(t *testing.T) {
	const page = "text\n| feature | Weft | proved by | others |\n|---|---|---|---|\n| tea | ● [page](x) | TestTea | ● |\n| milk | ● | | ● |\n| sugar | ○ | | ● |\n| salt | ◐ | by hand | ● |\n"
	got := unproved(page)
	if len(got) != 2 || !strings.HasPrefix(got[0], "| milk") || !strings.HasPrefix(got[1], "| salt") {
		t.Errorf("%q", got)
	}
}
