package cli

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// unpack FILE DIR extracts a tar.gz without its first folder, and everything once more into DIR/all.
func unpack(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: unpack FILE DIR")
	}
	f, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer f.Close()
	gz, err := gzip.NewReader(f)
	ts.Check(err)
	dir := ts.MkAbs(args[1])
	var all strings.Builder
	for r := tar.NewReader(gz); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		ts.Check(err)
		_, name, _ := strings.Cut(h.Name, "/")
		data, err := io.ReadAll(r)
		ts.Check(err)
		path := filepath.Join(dir, filepath.Clean("/"+name))
		ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
		ts.Check(os.WriteFile(path, data, 0o600))
		all.Write(data)
	}
	ts.Check(os.WriteFile(filepath.Join(dir, "all"), []byte(all.String()), 0o600))
}
