package bootstrap

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEnvoyAcceptsBootstrap(t *testing.T) {
	binary, err := FindEnvoy("")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	b, err := Marshal(Config(Options{NodeID: "waypoint~shop/wp~0", Gateway: "shop/wp", RunDir: "/tmp"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"private_key", "token", "Bearer"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("the bootstrap has a %s", secret)
		}
	}
	file := filepath.Join(t.TempDir(), File)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "--mode", "validate", "-c", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFindEnvoy(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	bin := filepath.Join(root, "build", "envoy", "lib", "_bin")
	for _, dir := range []string{deep, bin, filepath.Join(root, "build", "envoy", "bin")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(deep)
	t.Setenv("PATH", t.TempDir())
	t.Setenv("WEFT_ENVOY", "")
	if got, err := FindEnvoy(""); !errors.Is(err, ErrNoEnvoy) {
		t.Errorf("nothing there: %q %v", got, err)
	}
	// A script of that name is not it.
	if err := os.WriteFile(filepath.Join(root, "build", "envoy", "bin", "envoy"), []byte("#!/usr/bin/env python3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := FindEnvoy(""); !errors.Is(err, ErrNoEnvoy) {
		t.Errorf("a script: %q %v", got, err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(bin, "envoy")
	if err := os.Symlink(self, want); err != nil {
		t.Fatal(err)
	}
	if got, err := FindEnvoy(""); err != nil || got != want {
		t.Errorf("below build/envoy: %q %v, want %q", got, err, want)
	}
	t.Chdir(t.TempDir())
	program := filepath.Join(root, "build", "bin", "program")
	if err := errors.Join(os.Mkdir(filepath.Dir(program), 0o755), copyFile(self, program)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=TestPrintEnvoy", "-test.v")
	cmd.Env = []string{"PRINT_ENVOY=1"}
	if got, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(got), "found "+want+"\n") {
		t.Errorf("beside the program: %s %v, want %q", got, err, want)
	}
	t.Setenv("WEFT_ENVOY", self)
	if got, err := FindEnvoy(""); err != nil || got != self {
		t.Errorf("WEFT_ENVOY: %q %v", got, err)
	}
	if _, err := FindEnvoy("/does/not/exist"); err == nil {
		t.Error("a path that is not there is found")
	}
}

// TestPrintEnvoy is run as a program of its own by TestFindEnvoy.
func TestPrintEnvoy(t *testing.T) {
	if os.Getenv("PRINT_ENVOY") == "" {
		t.Skip("only as a program of its own")
	}
	got, err := FindEnvoy("")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("found", got)
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}
