package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

var host = "linux/" + runtime.GOARCH

// parts are the programs of $WEFT_BIN, which make test has just built, or builds them; and Envoy.
func parts(t *testing.T) input {
	t.Helper()
	in := input{bin: os.Getenv("WEFT_BIN"), envoy: os.Getenv("WEFT_ENVOY")}
	if in.bin == "" {
		in.bin = t.TempDir()
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", in.bin+"/", "./cmd/...")
		cmd.Dir, cmd.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build the programs: %v\n%s", err, out)
		}
	}
	if in.envoy == "" {
		out, err := exec.Command("bash", "../hack/envoy.sh").Output()
		if err != nil {
			t.Fatalf("find Envoy: %v", err)
		}
		in.envoy = strings.TrimSpace(string(out))
	}
	return in
}

func makeImages(t *testing.T, in input, more ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	o, err := parse(append([]string{"-version", "v1.2.3+test", "-revision", "abc", "-out", dir, "-bin", in.bin, "-envoy", in.envoy}, more...))
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), o, t.Output()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func load(t *testing.T, dir, program string) v1.Image {
	t.Helper()
	tag, err := name.NewTag("ghcr.io/weftmesh/" + program + ":v1.2.3_test")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.ImageFromPath(filepath.Join(dir, program+".tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestSameInputSameBytes(t *testing.T) {
	in := parts(t)
	first := makeImages(t, in)
	// The same files elsewhere, newer and with other permissions.
	copied := input{bin: t.TempDir(), envoy: filepath.Join(t.TempDir(), "envoy")}
	for _, p := range programs {
		copyFile(t, filepath.Join(in.bin, p.name), filepath.Join(copied.bin, p.name))
		for beside := range p.beside {
			copyFile(t, filepath.Join(in.bin, beside), filepath.Join(copied.bin, beside))
		}
	}
	copyFile(t, in.envoy, copied.envoy)
	second := makeImages(t, copied)
	for _, p := range programs {
		for _, ext := range []string{".tar", ".spdx.json"} {
			a, err := os.ReadFile(filepath.Join(first, p.name+ext))
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(second, p.name+ext))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("%s%s differs between two runs", p.name, ext)
			}
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestProgramsStart runs each image's programs with nothing around them but the image.
func TestProgramsStart(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root for chroot")
		}
		t.Skip("needs root for chroot")
	}
	dir := makeImages(t, parts(t))
	for _, p := range programs {
		t.Run(p.name, func(t *testing.T) {
			img := load(t, dir, p.name)
			cfg, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			root := t.TempDir()
			unpack(t, img, root)
			want := map[string]string{cfg.Config.Entrypoint[0]: p.name + " version "}
			if p.envoy {
				want["/usr/local/bin/envoy"] = "BoringSSL"
			}
			for name, path := range p.beside {
				want[path] = name + " v"
			}
			for program, says := range want {
				out, err := runIn(root, program, cfg.Config.User)
				if err != nil || !strings.Contains(out, says) {
					t.Errorf("%s --version as user %s: %v: %q, want %q", program, cfg.Config.User, err, out, says)
				}
			}
		})
	}
}

func runIn(root, program, user string) (string, error) {
	cmd := exec.Command(program, "--version")
	cmd.Env, cmd.Dir = []string{"PATH=/usr/local/bin"}, "/"
	id := uint32(0)
	if strings.HasPrefix(user, "65532:") {
		id = nobody
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: id, Gid: id}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func unpack(t *testing.T, img v1.Image, root string) {
	t.Helper()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil { // for users other than root
		t.Fatal(err)
	}
	files := mutate.Extract(img)
	defer files.Close()
	for tr := tar.NewReader(files); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, h.Name)
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, os.FileMode(h.Mode))
		case tar.TypeReg:
			var b []byte
			if b, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, b, os.FileMode(h.Mode))
			}
		default:
			t.Fatalf("entry %s of type %c", h.Name, h.Typeflag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPartsAreListed(t *testing.T) {
	dir := makeImages(t, parts(t), "-only", "weft-waypoint")
	beside, err := os.ReadFile(filepath.Join(dir, "weft-waypoint.spdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	unpack(t, load(t, dir, "weft-waypoint"), root)
	inside, err := os.ReadFile(filepath.Join(root, "usr/share/sbom/weft-waypoint.spdx.json"))
	if err != nil || !bytes.Equal(inside, beside) {
		t.Fatalf("the list inside is not the one beside: %v", err)
	}
	var doc spdxDocument
	if err := json.Unmarshal(inside, &doc); err != nil {
		t.Fatal(err)
	}
	ids := []string{doc.ID}
	for _, p := range doc.Packages {
		ids = append(ids, p.ID)
	}
	for _, r := range doc.Relationships {
		if !slices.Contains(ids, r.From) || !slices.Contains(ids, r.To) {
			t.Errorf("relationship %v names what is not listed", r)
		}
	}
	for _, want := range []string{"weft-waypoint", "envoy", "libc.so.6", "stdlib", "google.golang.org/grpc"} {
		if !slices.ContainsFunc(doc.Packages, func(p spdxPackage) bool { return p.Name == want && (want == "libc.so.6" || p.Version != "") }) {
			t.Errorf("%s is not listed, or without its version", want)
		}
	}
}

// TestPush finds both platforms in a registry under one name. The second one's programs are the first's: what
// is tested is the index.
func TestPush(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	hub := strings.TrimPrefix(server.URL, "http://") + "/weft"
	in := parts(t)
	makeImages(t, in, "-only", "weft-agent", "-push", "-hub", hub, "-bin", "linux/s390x="+in.bin)
	ref, err := name.NewTag(hub + "/weft-agent:v1.2.3_test")
	if err != nil {
		t.Fatal(err)
	}
	for _, platform := range []string{host, "linux/s390x"} {
		p, err := v1.ParsePlatform(platform)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref, remote.WithPlatform(*p))
		if err != nil {
			t.Fatalf("%s: %v", platform, err)
		}
		cfg, err := img.ConfigFile()
		if err != nil || cfg.Architecture != p.Architecture || cfg.Config.Labels["org.opencontainers.image.version"] != "v1.2.3+test" {
			t.Errorf("%s: %v, configuration %+v", platform, err, cfg)
		}
	}
}

func TestRefusals(t *testing.T) {
	in := parts(t)
	for _, c := range []struct {
		name, want string
		args       []string
	}{
		{"no programs", "run `make build`", []string{"-bin", t.TempDir()}},
		{"a program that is not static", "CGO_ENABLED=0", []string{"-bin", dynamicPrograms(t, in.envoy)}},
		{"a script instead of Envoy", "not a Linux program", []string{"-bin", in.bin, "-envoy", "../hack/envoy.sh", "-only", "weft-waypoint"}},
		{"an unknown program", "no program", []string{"-bin", in.bin, "-only", "weft-typo"}},
		{"a bad hub", "HUB", []string{"-bin", in.bin, "-hub", "UPPER CASE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, err := parse(append([]string{"-out", t.TempDir()}, c.args...))
			if err == nil {
				err = run(t.Context(), o, t.Output())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func dynamicPrograms(t *testing.T, envoy string) string {
	dir := t.TempDir()
	if err := os.Symlink(envoy, filepath.Join(dir, "weft-controller")); err != nil {
		t.Fatal(err)
	}
	return dir
}
