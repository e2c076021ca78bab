package cluster

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// An image's bytes depend on its files alone, and hold the digests that a container runtime checks.
func TestArchive(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a := Archive{Ref: "e2e.local/x:1", Entrypoint: []string{"/bin/x"}, Files: map[string]string{"bin/x": program, "usr/bin/y": program}, Links: map[string]string{"bin/sh": "x"}}
	var bodies [][]byte
	for _, name := range []string{"1.tar", "2.tar"} {
		file := filepath.Join(dir, name)
		if err := a.Write(file); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, b)
	}
	if !bytes.Equal(bodies[0], bodies[1]) {
		t.Error("the same files gave different bytes")
	}
	parts := untar(t, bodies[0])
	var manifest []struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	if err := json.Unmarshal(parts["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	m := manifest[0]
	if m.RepoTags[0] != a.Ref || digest(parts[m.Config])+".json" != m.Config || digest(parts[m.Layers[0]])+"/layer.tar" != m.Layers[0] {
		t.Errorf("manifest %+v does not fit its parts", m)
	}
	layer := untar(t, parts[m.Layers[0]])
	for _, name := range []string{"bin/x", "usr/bin/y", "bin/sh", "tmp/", "usr/", "usr/bin/"} {
		if _, there := layer[name]; !there {
			t.Errorf("the layer lacks %s", name)
		}
	}
}

func untar(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}
