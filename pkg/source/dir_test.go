package source

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	tmp := filepath.Join(filepath.Dir(path), ".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, o Options) *Dir {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestExamplesAreClean(t *testing.T) {
	d := open(t, Options{Dirs: []string{"../../examples/shop", "../../examples/steps/6-fault", "../../examples/steps/3-policy"}})
	o, problems := d.Load()
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	if len(o.Services) < 5 || len(o.Deployments) < 5 || len(o.Faults) != 1 || len(o.AuthorizationPolicies) != 1 {
		t.Fatalf("read %d services, %d deployments, %d faults, %d policies", len(o.Services), len(o.Deployments), len(o.Faults), len(o.AuthorizationPolicies))
	}
}

const twoServices = `apiVersion: v1
kind: Service
metadata: {name: a, namespace: x}
spec:
  ports: [{port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: x}
spec:
  ports: [{port: 80}]
`

// names lists the services with their first port.
func names(o *Objects) string {
	var out []string
	for _, s := range o.Services {
		out = append(out, fmt.Sprintf("%s:%d", s.Value.Name, s.Value.Spec.Ports[0].Port))
	}
	return strings.Join(out, " ")
}

func TestBrokenEditKeepsLastGood(t *testing.T) {
	for name, c := range map[string]struct {
		edit, want, problem string
	}{
		"unknown field of one, edit of the other": {
			strings.Replace(strings.Replace(twoServices, "ports: [{port: 80}]", "prots: [{port: 81}]", 1), "port: 80", "port: 82", 1),
			"a:80 b:82", "f.yaml:5:3: Service x/a: spec.prots: unknown field \"prots\"; did you mean ports? [the last good version stays in force]"},
		"syntax error in the second": {
			strings.Replace(twoServices, "name: b, namespace: x}", "name: b, namespace: x", 1),
			"a:80 b:80", "f.yaml:9: not YAML"},
		"wrong type": {
			strings.Replace(twoServices, "port: 80}]\n---", "port: eighty}]\n---", 1),
			"a:80 b:80", `f.yaml:5:18: Service x/a: spec.ports[0].port: want a whole number, not "eighty"`},
		"binary": {"\x00\x01\x02", "a:80 b:80", "f.yaml:1: not YAML"},
		"kind misspelt": {
			strings.Replace(twoServices, "kind: Service", "kind: Servcie", 1),
			"a:80 b:80", `f.yaml:2:1: Servcie x/a: kind: unknown kind "Servcie" in v1; did you mean Service?`},
		"removed": {strings.SplitN(twoServices, "---", 2)[1], "b:80", ""},
		"twice":   {twoServices + "---\n" + twoServices, "a:80 b:80", "there is another object of this kind and name at"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.yaml")
			now := time.Now()
			d := open(t, Options{Dirs: []string{filepath.Dir(path)}, Now: func() time.Time { return now }})
			write(t, path, twoServices)
			if o, p := d.Load(); names(o) != "a:80 b:80" || len(p) > 0 {
				t.Fatalf("first: %s, %v", names(o), p)
			}
			write(t, path, c.edit)
			d.Load()
			now = now.Add(time.Second) // what is missing is believed after a while
			o, ps := d.Load()
			if names(o) != c.want {
				t.Errorf("in force: %s, want %s", names(o), c.want)
			}
			text := ""
			for _, p := range ps {
				text += strings.ReplaceAll(p.String(), filepath.Dir(path)+"/", "") + "\n"
			}
			if c.problem == "" && text != "" || !strings.Contains(text, c.problem) {
				t.Errorf("problems:\n%swant %s", text, c.problem)
			}
			write(t, path, twoServices)
			if o, p := d.Load(); names(o) != "a:80 b:80" || len(p) > 0 {
				t.Errorf("mended: %s, %v", names(o), p)
			}
		})
	}
}

// Editors empty a file before they write it, write it in pieces, or move it away first. What is missing
// meanwhile is not taken for deleted; what stays missing is.
func TestSlowEditorsDeleteNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f.yaml")
	now := time.Now()
	d := open(t, Options{Dirs: []string{dir}, Now: func() time.Time { return now }})
	look := func(when time.Duration, want string) {
		t.Helper()
		now = now.Add(when)
		if o, p := d.Load(); names(o) != want || len(p) > 0 {
			t.Fatalf("in force: %s, want %s; problems %v", names(o), want, p)
		}
	}
	write(t, path, twoServices)
	look(0, "a:80 b:80")
	edited := strings.ReplaceAll(twoServices, "80", "81")
	for _, piece := range []int{0, strings.Index(edited, "---"), strings.Index(edited, "---") + 4} {
		if err := os.WriteFile(path, []byte(edited[:piece]), 0o644); err != nil {
			t.Fatal(err)
		}
		look(200*time.Millisecond, "a:80 b:80")
	}
	write(t, path, edited)
	look(0, "a:81 b:81")
	if err := os.Rename(path, path+"~"); err != nil {
		t.Fatal(err)
	}
	look(0, "a:81 b:81")
	write(t, path, twoServices)
	look(time.Second, "a:80 b:80")

	a, b, _ := strings.Cut(twoServices, "---\n")
	write(t, path, a) // b moves to another file: it is never in doubt
	write(t, filepath.Join(dir, "g.yaml"), strings.Replace(b, "80", "82", 1))
	look(0, "a:80 b:82")
	look(time.Second, "a:80 b:82")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(0, "a:80 b:82")
	look(time.Second, "b:82")
}

func TestRunSeesEdits(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "later", "made") // does not exist yet
	d := open(t, Options{Dirs: []string{dir}, StatusDir: filepath.Join(root, "status")})
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan string, 100)
	done := make(chan error, 1)
	go func() {
		done <- d.Run(ctx, func(o *Objects, _ []Problem) {
			got <- names(o) + "|" + o.Announcements["x/p"].Redirection
		})
	}()
	await := func(want string) time.Duration {
		t.Helper()
		began, last := time.Now(), ""
		for deadline := time.After(20 * time.Second); ; {
			select {
			case last = <-got:
				if last == want {
					return time.Since(began)
				}
			case <-deadline:
				t.Fatalf("saw %q, want %q", last, want)
			}
		}
	}
	await("|")
	path := filepath.Join(dir, "deep", "er", "f.yaml")
	write(t, path, twoServices)
	await("a:80 b:80|")
	write(t, path, strings.Replace(twoServices, "port: 80", "port: 81", 1))
	t.Logf("an edit took %v", await("a:81 b:80|"))
	if err := os.WriteFile(path, []byte(strings.Replace(twoServices, "port: 80", "port: 83", 1)), 0o644); err != nil { // in place
		t.Fatal(err)
	}
	await("a:83 b:80|")
	write(t, filepath.Join(root, "status", "pods", "x_p.json"), `{"redirection":"enabled"}`)
	await("a:83 b:80|enabled")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	await("|enabled")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
