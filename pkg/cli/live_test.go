package cli

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weftmesh/weft/examples"
	"github.com/weftmesh/weft/waypoint/bootstrap"
)

// The CLI against a mesh that really runs: the shop, enrolled, with the policies of the demo's steps 3 and 4.
func TestLive(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a lab needs root, and CI has to have it")
		}
		t.Skip("a lab needs root: sudo go test ./pkg/cli")
	}
	bin := buildPrograms(t)
	envoy, noEnvoy := bootstrap.FindEnvoy("")
	if noEnvoy != nil {
		t.Logf("what needs a waypoint is left out: %v", noEnvoy)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/live",
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("WEFT_ENVOY", envoy)
			if err := writeFiles(filepath.Join(e.WorkDir, "waypoint"), "steps/5-waypoint"); err != nil {
				return err
			}
			return writeFiles(filepath.Join(e.WorkDir, "shop"), "shop", "steps/2-enrol", "steps/3-policy", "steps/4-strict")
		},
		Condition: func(cond string) (bool, error) {
			if cond == "envoy" {
				return noEnvoy == nil, nil
			}
			return false, errors.New("unknown condition " + cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "await": await, "lab": raise},
	})
}

// buildPrograms brings build/bin up to date, which is quick where it is, and returns the folder.
func buildPrograms(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("make", "-C", root, "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	return filepath.Join(root, "build", "bin")
}

// writeFiles puts folders of the examples into one, each over those before it.
func writeFiles(dir string, folders ...string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, from := range folders {
		files, err := fs.Glob(examples.Files, from+"/*.yaml")
		if err != nil {
			return err
		}
		for _, f := range files {
			data, err := examples.Files.ReadFile(f)
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), data, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// lab NAME DIR raises a lab that goes when the script ends, however it ends.
func raise(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: lab NAME DIR")
	}
	ts.Defer(func() {
		if err := ts.Exec("weftctl", "lab", "down", "--name", args[0]); err != nil {
			ts.Logf("lab down: %v", err)
		}
	})
	ts.Check(ts.Exec("weftctl", "lab", "up", "--name", args[0], "-f", args[1]))
}

// await PATTERN PROGRAM ARGS… runs a program until what it prints matches.
func await(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await PATTERN PROGRAM ARGS…")
	}
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := ts.Exec(args[1], args[2:]...)
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("never matched %s; last: %v", pattern, err)
		}
	}
}
