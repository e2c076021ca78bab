package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Store is where built things are kept, each in a folder NAME-HASH that is complete or absent.
type Store struct {
	Dir string    // ~/.cache/weft-e2e/store
	Log io.Writer // told what is built; nil is silent
}

// built are the folders of what a cluster runs on.
type built struct {
	Kube, Containerd, CoreDNS, Helm, App string
}

func (b built) kubectl() string      { return filepath.Join(b.Kube, "kubectl") }
func (b built) ctr() string          { return filepath.Join(b.Containerd, "ctr") }
func (b built) helmBinary() string   { return filepath.Join(b.Helm, "helm") }
func (b built) baseImage() string    { return filepath.Join(b.App, "base.tar") }
func (b built) corednsImage() string { return filepath.Join(b.CoreDNS, "coredns.tar") }

// component is one thing to build. Its inputs are hashed, files and folders below the source folder.
type component struct {
	name   string
	inputs []string
	make   func(ctx context.Context, s *source, into string) error
}

// components in the order in which they are built: the long one first, that it is seen to work.
func components() []component {
	return []component{
		{"kube", []string{"modules/kube"}, makeKube},
		{"containerd", []string{"modules/containerd"}, makeContainerd},
		{"coredns", []string{"modules/coredns", "archive.go"}, makeCoreDNS},
		{"helm", []string{"modules/helm"}, makeHelm},
		{"app", []string{"app", "archive.go", "../go.mod", "../go.sum"}, makeApp},
	}
}

// Build builds what the store lacks: minutes the first time, nothing after.
func (s Store) Build(ctx context.Context) (built, error) {
	src, err := findSource()
	if err != nil {
		return built{}, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return built{}, err
	}
	dirs := map[string]string{}
	for _, c := range components() {
		if dirs[c.name], err = s.build(ctx, src, c); err != nil {
			return built{}, fmt.Errorf("building %s: %w", c.name, err)
		}
	}
	return built{dirs["kube"], dirs["containerd"], dirs["coredns"], dirs["helm"], dirs["app"]}, nil
}

// build gives the folder of one component, and makes it if it is not there. Two programs that want the same
// component wait for each other.
func (s Store) build(ctx context.Context, src *source, c component) (string, error) {
	hash, err := src.hash(c.inputs)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(s.Dir, c.name+"-"+hash)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := lockFile(filepath.Join(s.Dir, c.name+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	logf(s.Log, "building %s", c.name)
	tmp, err := os.MkdirTemp(s.Dir, "."+c.name+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", err
	}
	if err := c.make(ctx, src, tmp); err != nil {
		return "", err
	}
	return dir, os.Rename(tmp, dir)
}

// source is the folder of this package in a checkout.
type source struct{ dir string }

func findSource() (*source, error) {
	_, file, _, _ := runtime.Caller(0)
	dir := filepath.Dir(file)
	if _, err := os.Stat(filepath.Join(dir, "modules", "kube", "go.mod")); err != nil {
		return nil, fmt.Errorf("the sources of the cluster are not at %s: start weft-cluster with `go run` (or build it without -trimpath) in a checkout: %w", dir, err)
	}
	return &source{dir}, nil
}

// hash is of the names and contents of all input files and of the toolchain.
func (s *source) hash(inputs []string) (string, error) {
	var files []string
	for _, in := range inputs {
		err := filepath.WalkDir(filepath.Join(s.dir, in), func(path string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && !strings.HasSuffix(path, "_test.go") {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return "", err
		}
	}
	sort.Strings(files)
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		name, _ := filepath.Rel(s.dir, f)
		fmt.Fprintf(h, "%s %d\n", name, len(b))
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// goBuild runs go build in a folder of the source, statically, with the caches that every build shares.
func (s *source) goBuild(ctx context.Context, in string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath"}, args...)...)
	cmd.Dir = filepath.Join(s.dir, in)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s in %s: %w\n%s", strings.Join(cmd.Args[1:], " "), in, errors.Join(err, ctx.Err()), tail(out.Bytes(), 20))
	}
	return nil
}

// lockFile waits for the lock on a file, which the kernel gives back when the process ends in any way.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// tail is the last lines of a text.
func tail(b []byte, lines int) string {
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func logf(w io.Writer, format string, args ...any) {
	if w != nil {
		fmt.Fprintf(w, format+"\n", args...)
	}
}
