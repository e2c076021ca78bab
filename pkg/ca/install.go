package ca

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Install puts an authority's files into dir, by their names there, if they are a usable authority; else it
// changes nothing and says why. It reports whether anything changed.
func Install(dir string, files map[string][]byte, now time.Time) (changed bool, err error) {
	for _, name := range []string{FileCert, FileKey} {
		if len(files[name]) == 0 {
			return false, fmt.Errorf("%w: %s is missing or empty", ErrNoRoot, name)
		}
	}
	roots := files[FileRoots]
	if len(roots) == 0 {
		roots = files[FileCert]
	}
	m := &material{}
	if err := m.parse("", files[FileCert], files[FileKey], roots, files[FileChain]); err != nil {
		return false, err
	}
	if err := m.check("", now); err != nil {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("install authority: %w", err)
	}
	// The key's certificate last: a reader in between finds two that do not belong together and tries again.
	for _, f := range []file{{FileRoots, roots, 0o644}, {FileChain, files[FileChain], 0o644}, {FileKey, files[FileKey], 0o600}, {FileCert, files[FileCert], 0o644}} {
		f.path = filepath.Join(dir, f.path)
		is, err := os.ReadFile(f.path)
		if err == nil && bytes.Equal(is, f.data) || errors.Is(err, fs.ErrNotExist) && len(f.data) == 0 {
			continue
		}
		if len(f.data) == 0 {
			err = os.Remove(f.path)
		} else {
			err = f.write()
		}
		if err != nil {
			return changed, fmt.Errorf("install authority: %w", err)
		}
		changed = true
	}
	return changed, nil
}
