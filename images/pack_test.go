package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestPack(t *testing.T) {
	dir := t.TempDir()
	note, out := filepath.Join(dir, "note"), filepath.Join(dir, "packed.tar")
	if err := os.WriteFile(note, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(parts(t).bin, "weft-cni")
	if err := command(t.Context(), []string{"pack", "-add", note + "=/etc/note", "example.com/cni:1", out, program}, t.Output()); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("example.com/cni:1")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(out, &tag)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil || cfg.Config.Entrypoint[0] != "/usr/local/bin/weft-cni" {
		t.Fatalf("%v, entry point %v", err, cfg.Config.Entrypoint)
	}
	root := t.TempDir()
	unpack(t, img, root)
	if b, err := os.ReadFile(filepath.Join(root, "etc/note")); err != nil || string(b) != "hello" {
		t.Errorf("/etc/note: %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(root, "usr/local/bin/weft-cni")); err != nil {
		t.Error(err)
	}
}

func TestPackRefuses(t *testing.T) {
	in := parts(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"usage", []string{"example.com/cni:1"}},
		{"FILE=/PATH", []string{"-add", "/etc/passwd", "example.com/cni:1", "out.tar", "x"}},
		{"CGO_ENABLED=0", []string{"example.com/cni:1", filepath.Join(t.TempDir(), "out.tar"), in.envoy}},
	} {
		if err := command(t.Context(), append([]string{"pack"}, c.args...), t.Output()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.args, err, c.want)
		}
	}
}
