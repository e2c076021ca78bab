package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// written opens every file that is written here: only such files are ever removed.
const written = "# Written by weft-controller; changes are overwritten.\n"

// Waits between attempts to write, which double.
const (
	minRetry = 250 * time.Millisecond
	maxRetry = 15 * time.Second
)

// files keeps two folders as they are wanted: writes what differs, removes what is not wanted any more, and
// repeats what failed (a full disk, no descriptors, no permission) until it succeeds.
type files struct {
	log     *zap.Logger
	metrics metrics

	folders []*folder
	kick    chan struct{} // something else is wanted

	mu sync.Mutex // protects the wanted files of all folders
}

// folder is one of them.
type folder struct {
	path    string
	name    string            // of the metrics' label
	want    map[string]string // content by path; nil until it is known
	have    map[string]string // what is on disk, as far as known; only run touches it
	adopted bool              // have includes what an earlier run left
}

func newFiles(log *zap.Logger, m metrics, folders ...*folder) *files {
	return &files{log: log, metrics: m, folders: folders, kick: make(chan struct{}, 1)}
}

// set replaces what is wanted in a folder. Paths are absolute. It does not wait.
func (f *files) set(d *folder, want map[string]string) {
	f.mu.Lock()
	d.want = want
	f.mu.Unlock()
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

// run works until ctx ends, and then once more, so that what was decided last is written.
func (f *files) run(ctx context.Context) {
	wait := minRetry
	var retry <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			if err := f.syncAll(); err != nil {
				f.log.Error("files not written before the end; the next start writes them", zap.Error(err))
			}
			return
		case <-f.kick:
		case <-retry:
		}
		if err := f.syncAll(); err != nil {
			f.log.Error("files not written, they will be tried again; clients are served regardless", zap.Duration("retryIn", wait), zap.Error(err))
			retry = time.After(wait)
			wait = min(wait*2, maxRetry)
			continue
		}
		retry, wait = nil, minRetry
	}
}

// syncAll returns the first error of each folder; whatever can be done is done.
func (f *files) syncAll() error {
	var errs []error
	for _, d := range f.folders {
		f.mu.Lock()
		want := d.want
		f.mu.Unlock()
		if want == nil {
			continue // what an earlier run left is not stale until the objects have been read
		}
		pending, err := d.sync(want)
		f.metrics.filesPending.WithLabelValues(d.name).Set(float64(pending))
		if err != nil {
			f.metrics.fileFailures.WithLabelValues(d.name).Inc()
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sync makes the folder as wanted; pending is the number of files that are not.
func (d *folder) sync(want map[string]string) (pending int, first error) {
	failed := func(err error) {
		pending++
		if first == nil {
			first = err
		}
	}
	if !d.adopted {
		if err := d.adopt(); err != nil {
			failed(err)
		}
	}
	for path := range d.have { // first: on a full disk this makes room
		if _, ok := want[path]; ok {
			continue
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed(err)
			continue
		}
		delete(d.have, path)
	}
	for path, content := range want {
		if have, ok := d.have[path]; ok && have == content {
			continue
		}
		if err := replaceFile(path, []byte(written+content)); err != nil {
			failed(err)
			continue
		}
		d.have[path] = content
	}
	return pending, first
}

// adopt learns which files an earlier run wrote.
func (d *folder) adopt() error {
	found := map[string]string{}
	err := filepath.WalkDir(d.path, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if strings.HasPrefix(e.Name(), ".") && path != d.path {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !e.Type().IsRegular() || filepath.Ext(path) != ".yaml" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if content, ours := bytes.CutPrefix(data, []byte(written)); ours {
			found[path] = string(content)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for files of an earlier run: %w", err)
	}
	for path, content := range found {
		if _, known := d.have[path]; !known {
			d.have[path] = content
		}
	}
	d.adopted = true
	return nil
}

// replaceFile replaces a file whole, so that no reader sees a half; after a failure nothing is left of it.
func replaceFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	err := os.WriteFile(tmp, data, 0o644)
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
