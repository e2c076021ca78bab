package report

import (
	"archive/tar"
	"compress/gzip"
	"fmt"
	"io"
	"sync"
	"time"
)

// archive is a tar.gz whose every file is redacted. It may be used by many at a time.
type archive struct {
	folder string
	now    time.Time

	mu    sync.Mutex // protects what follows
	tar   *tar.Writer
	gz    *gzip.Writer
	files []string
	err   error // the first one of writing; later files are dropped
}

func newArchive(w io.Writer, folder string, now time.Time) *archive {
	gz := gzip.NewWriter(w)
	return &archive{folder: folder, now: now, gz: gz, tar: tar.NewWriter(gz)}
}

// add writes one file.
func (a *archive) add(name string, data []byte) {
	data = Redact(data)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	header := &tar.Header{Name: a.folder + "/" + name, Mode: 0o600, Size: int64(len(data)), ModTime: a.now, Typeflag: tar.TypeReg}
	if a.err = a.tar.WriteHeader(header); a.err != nil {
		return
	}
	_, a.err = a.tar.Write(data)
	a.files = append(a.files, name)
}

// failed notes why something is not in the archive, where one would look for it.
func (a *archive) failed(name string, err error) { a.add(name+".error.txt", []byte(err.Error()+"\n")) }

func (a *archive) close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, end := range []func() error{a.tar.Close, a.gz.Close} {
		if err := end(); a.err == nil && err != nil {
			a.err = err
		}
	}
	if a.err != nil {
		return fmt.Errorf("write the archive: %w", a.err)
	}
	return nil
}
