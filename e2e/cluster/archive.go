package cluster

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
)

// Images that every node has.
const (
	BaseImage    = "e2e.local/base:1"    // pause container, /bin/app (package app) and a few tools
	CoreDNSImage = "e2e.local/coredns:1" // the cluster's DNS
)

// Archive is an image of one layer that is made from files, in the format of `docker save`. The same files give the
// same bytes.
type Archive struct {
	Ref        string            // name:tag
	Entrypoint []string          //
	Files      map[string]string // path in the image without the first slash → file on this machine
	Links      map[string]string // path in the image → target of the symbolic link
}

// Write writes the archive to a file.
func (a Archive) Write(file string) error {
	layer, err := a.layer()
	if err != nil {
		return err
	}
	diff := digest(layer)
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "created": "1970-01-01T00:00:00Z",
		"config": map[string]any{"Entrypoint": a.Entrypoint, "Env": []string{"PATH=/bin:/usr/bin:/sbin:/usr/sbin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + diff}},
	})
	if err != nil {
		return err
	}
	name, blob := digest(config)+".json", diff+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{{"Config": name, "RepoTags": []string{a.Ref}, "Layers": []string{blob}}})
	if err != nil {
		return err
	}
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	for _, e := range []struct {
		name string
		body []byte
	}{{name, config}, {blob, layer}, {"manifest.json", manifest}} {
		if err := addFile(tw, e.name, 0o644, e.body); err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, out.Bytes(), 0o644)
}

func (a Archive) layer() ([]byte, error) {
	var out bytes.Buffer
	tw := tar.NewWriter(&out)
	seen := map[string]bool{}
	var mkdir func(dir string, mode int64) error
	mkdir = func(dir string, mode int64) error {
		if dir == "." || dir == "/" || seen[dir] {
			return nil
		}
		seen[dir] = true
		if err := mkdir(path.Dir(dir), 0o755); err != nil {
			return err
		}
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: mode})
	}
	if err := mkdir("tmp", 0o1777); err != nil {
		return nil, err
	}
	if err := mkdir("etc", 0o755); err != nil {
		return nil, err
	}
	for _, p := range slices.Sorted(maps.Keys(a.Files)) {
		if err := mkdir(path.Dir(p), 0o755); err != nil {
			return nil, err
		}
		body, err := os.ReadFile(a.Files[p])
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", a.Ref, err)
		}
		if err := addFile(tw, p, 0o755, body); err != nil {
			return nil, err
		}
	}
	for _, p := range slices.Sorted(maps.Keys(a.Links)) {
		if err := mkdir(path.Dir(p), 0o755); err != nil {
			return nil, err
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: p, Linkname: a.Links[p], Mode: 0o777}); err != nil {
			return nil, err
		}
	}
	err := tw.Close()
	return out.Bytes(), err
}

func addFile(tw *tar.Writer, name string, mode int64, body []byte) error {
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(body))}); err != nil {
		return err
	}
	_, err := io.Copy(tw, bytes.NewReader(body))
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
