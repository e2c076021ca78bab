package bootstrap

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// ErrNoEnvoy is returned when no Envoy can be found.
var ErrNoEnvoy = errors.New("no envoy found: set WEFT_ENVOY to the binary, put envoy into PATH, or run `make envoy` to install one under build/envoy")

// FindEnvoy looks for the Envoy binary and returns an absolute path: the path given, $WEFT_ENVOY, PATH, then
// build/envoy of the working directory and of each directory above it, then the same from the running
// program's directory, and envoy beside that (bin/weftctl, envoy/…).
func FindEnvoy(path string) (string, error) {
	for _, p := range []string{path, os.Getenv("WEFT_ENVOY")} {
		if p == "" {
			continue
		}
		found, err := exec.LookPath(p)
		if err != nil {
			return "", fmt.Errorf("envoy at %q: %w", p, err)
		}
		return filepath.Abs(found)
	}
	if found, err := exec.LookPath("envoy"); err == nil {
		return filepath.Abs(found)
	}
	var roots []string
	if dir, err := os.Getwd(); err == nil {
		roots = append(roots, buildDirs(dir)...)
	}
	if self, err := os.Executable(); err == nil {
		roots = append(roots, buildDirs(filepath.Dir(self))...)
		roots = append(roots, filepath.Join(filepath.Dir(self), "..", "envoy"))
	}
	for _, root := range roots {
		if found := findBinary(root); found != "" {
			return found, nil
		}
	}
	return "", ErrNoEnvoy
}

// buildDirs are build/envoy of a directory and of each one above it.
func buildDirs(dir string) []string {
	var all []string
	for ; ; dir = filepath.Dir(dir) {
		all = append(all, filepath.Join(dir, "build", "envoy"))
		if dir == filepath.Dir(dir) {
			return all
		}
	}
}

// findBinary finds an executable named envoy below a directory; the script of the same name that a Python
// package installs beside it would stand between the launcher and its child, so only ELF counts.
func findBinary(root string) string {
	found := ""
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() == "envoy" && isELF(path) {
			found = path
			return fs.SkipAll
		}
		return nil // what cannot be read is not an Envoy that could be run
	})
	return found
}

func isELF(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	f.Close()
	return true
}
