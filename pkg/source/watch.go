package source

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// pollEvery is how often folders are read where the kernel does not tell of changes.
const pollEvery = 500 * time.Millisecond

// Run calls changed with everything, at once and after each change, until ctx ends. Calls do not overlap.
// Where the kernel has no watches left it falls back to looking twice a second. While the process lacks
// descriptors or memory from the start nothing is reported: an empty answer would be taken for an empty mesh.
func (d *Dir) Run(ctx context.Context, changed func(*Objects, []Problem)) error {
	w := d.watcher()
	defer func() {
		if w != nil {
			w.Close()
		}
	}()
	d.watchTree(w)
	if !d.first(ctx, changed) {
		return nil
	}
	for {
		if !d.wait(ctx, w) {
			return nil
		}
		if w == nil { // maybe there are descriptors again
			w = d.watcher()
		}
		d.watchTree(w)
		before := d.reads
		if o, p := d.Load(); d.reads != before {
			changed(o, p)
		}
	}
}

// first reports the first complete reading; false when ctx ended before there was one.
func (d *Dir) first(ctx context.Context, changed func(*Objects, []Problem)) bool {
	for {
		o, p := d.Load()
		if !d.short {
			changed(o, p)
			return true
		}
		d.o.Logger.Error("the objects cannot be read for want of descriptors or memory, nothing is published yet: raise the limit of open files", zap.Stringer("first", p[0]))
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pollEvery):
		}
	}
}

func (d *Dir) watcher() *fsnotify.Watcher {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		d.o.Logger.Warn("cannot watch folders, looking twice a second instead: raise fs.inotify.max_user_instances or the limit of open files", zap.Error(err))
		return nil
	}
	return w
}

// wait returns true when there may be something new.
func (d *Dir) wait(ctx context.Context, w *fsnotify.Watcher) bool {
	var events <-chan fsnotify.Event
	var errs <-chan error
	resync := d.o.Resync
	if w != nil {
		events, errs = w.Events, w.Errors
	}
	if w == nil || d.short {
		resync = min(resync, pollEvery)
	}
	if d.waiting() {
		resync = min(resync, fadeFor)
	}
	all := time.NewTimer(resync)
	defer all.Stop()
	var quiet, latest <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return false
		case e := <-events:
			if !d.concerns(e.Name) {
				continue
			}
			d.mark(e.Name)
			quiet = time.After(d.o.Quiet)
			if latest == nil {
				latest = time.After(d.o.MaxWait)
			}
		case err := <-errs: // events were lost
			d.o.Logger.Warn("notices of changes were lost, reading everything", zap.Error(err))
			return true
		case <-quiet:
			return true
		case <-latest:
			return true
		case <-all.C:
			return true
		}
	}
}

// roots are all folders that are read.
func (d *Dir) roots() []string {
	if d.o.StatusDir == "" {
		return d.o.Dirs
	}
	return append(slices.Clone(d.o.Dirs), d.podsDir())
}

// concerns reports whether a path is below a root or on the way to one that does not exist yet.
func (d *Dir) concerns(path string) bool {
	below := func(p, dir string) bool { return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") }
	for _, root := range d.roots() {
		root = filepath.Clean(root)
		if below(path, root) || below(root, path) {
			return true
		}
		if real, err := filepath.EvalSymlinks(root); err == nil && below(path, real) {
			return true
		}
	}
	return false
}

// mark has a file read again even if it looks the same: two edits within a tick of the file system's clock
// have one time stamp.
func (d *Dir) mark(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirty[path] = true
}

// watchTree watches every folder below the roots, and the folders around roots that do not exist yet.
func (d *Dir) watchTree(w *fsnotify.Watcher) {
	if w == nil {
		return
	}
	add := func(dir string) {
		if err := w.Add(dir); ignoreMissing(err) != nil {
			d.o.Logger.Warn("cannot watch a folder, its changes are seen late: raise fs.inotify.max_user_watches", zap.String("folder", dir), zap.Error(err))
		}
	}
	for _, root := range d.roots() {
		found := false
		if real, err := filepath.EvalSymlinks(root); err == nil {
			root = real
		}
		_ = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if found = true; e.IsDir() {
				add(path)
			} else if path == root {
				add(filepath.Dir(path)) // a single file, which editors replace
			}
			return nil
		})
		for dir := filepath.Dir(root); !found && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				add(dir)
				found = true
			}
		}
	}
}
