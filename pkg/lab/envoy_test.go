package lab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/waypoint/bootstrap"
)

const gatewayYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: shop, namespace: shop}
spec:
  gatewayClassName: weft-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`

// A lab that needs an Envoy says so before it is raised, and hands on an absolute path.
func TestCompleteFindsEnvoy(t *testing.T) {
	dir := t.TempDir()
	manifests, bin := filepath.Join(dir, "manifests"), filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(manifests, 0o755), os.Mkdir(bin, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, p := range append(meshBinaries, "envoy") {
		if err := os.WriteFile(filepath.Join(bin, p), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("PATH", manifests)
	t.Setenv("WEFT_ENVOY", "")
	complete := func(edit func(*Config)) (*Config, error) {
		c := &Config{Layout: Layout{Name: "a", Nodes: 1}, BinDir: "bin", Manifests: []string{"manifests"}}
		if edit != nil {
			edit(c)
		}
		return c, c.Complete()
	}
	c, err := complete(nil)
	if err != nil || c.Envoy != "" || c.BinDir != bin || c.Manifests[0] != manifests {
		t.Errorf("no waypoint, no Envoy: %v, %+v", err, c)
	}
	if _, err := complete(func(c *Config) { c.NeedEnvoy = true }); !errors.Is(err, bootstrap.ErrNoEnvoy) {
		t.Errorf("needed, not there: %v", err)
	}
	if err := os.WriteFile(filepath.Join(manifests, "gw.yaml"), []byte(gatewayYAML), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = complete(nil)
	if !errors.Is(err, bootstrap.ErrNoEnvoy) || !strings.Contains(err.Error(), manifests+"/gw.yaml:2") || !strings.Contains(err.Error(), "make envoy") {
		t.Errorf("a Gateway needs it: %v", err)
	}
	if c, err := complete(func(c *Config) { c.Envoy = "bin/envoy" }); err != nil || c.Envoy != filepath.Join(bin, "envoy") {
		t.Errorf("a relative path: %v, %+v", err, c)
	}
	if _, err := complete(func(c *Config) { c.Envoy = "bin/none" }); err == nil {
		t.Error("a path that is not there is accepted")
	}
	if _, err := complete(func(c *Config) { c.NoMesh = true }); err != nil {
		t.Errorf("without a mesh: %v", err)
	}
}
