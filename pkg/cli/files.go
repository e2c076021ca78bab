package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/weftmesh/weft/pkg/source"
)

// manifests are what files and folders hold, read as the controller reads them.
type manifests struct {
	objects  *source.Objects
	problems []source.Problem
	stdin    string // the file that standard input was put into
}

// readManifests reads files and folders; "-" is standard input. Of an object that several hold, the last
// counts, as when each replaces files of the one before.
func (e *env) readManifests(paths []string) (*manifests, error) {
	m := &manifests{}
	paths = slices.Clone(paths)
	for i, p := range paths {
		if p == "-" {
			dir, err := os.MkdirTemp("", "weftctl-")
			if err != nil {
				return nil, err
			}
			defer os.RemoveAll(dir)
			m.stdin = filepath.Join(dir, "stdin.yaml")
			if err := e.saveStdin(m.stdin); err != nil {
				return nil, err
			}
			paths[i] = m.stdin
			continue
		}
		if err := checkManifest(p); err != nil {
			return nil, &exitError{2, err}
		}
	}
	slices.Reverse(paths) // for source, the first counts
	src, err := source.Open(source.Options{Dirs: paths})
	if err != nil {
		return nil, err
	}
	m.objects, m.problems = src.Load()
	return m, nil
}

// checkManifest refuses what the controller would pass over without a word.
func checkManifest(path string) error {
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("nothing to read: %w", err)
	case st.IsDir() || slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)):
		return nil
	}
	return fmt.Errorf("%s: want a folder, or a file that ends in .yaml, .yml or .json; others are passed over", path)
}

func (e *env) saveStdin(path string) error {
	text, err := io.ReadAll(e.stdin)
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return &exitError{2, errors.New("nothing came on standard input")}
	}
	return os.WriteFile(path, text, 0o600)
}

// shown is how a file is called in messages.
func (m *manifests) shown(file string) string {
	if m.stdin != "" && file == m.stdin {
		return "<stdin>"
	}
	return file
}

// errorCount counts what kept an object, or a part of it, out.
func (m *manifests) errorCount() int {
	n := 0
	for _, p := range m.problems {
		if p.Severity == source.Error {
			n++
		}
	}
	return n
}
