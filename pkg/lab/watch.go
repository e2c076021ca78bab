package lab

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long a folder has to be quiet before a change counts; it bounds how often one is read.
const settle = 30 * time.Millisecond

// watch calls changed at once, and again after each change below the folders, until the context ends.
// Folders made later below them are watched too. Every resync it calls changed without a change, in case
// an event was lost.
func watch(ctx context.Context, resync time.Duration, dirs []string, changed func()) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer w.Close()
	tick := time.NewTicker(resync)
	defer tick.Stop()
	addTree(w, dirs)
	changed()
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-w.Events:
			if !ok {
				return nil
			}
			if quiet == nil {
				quiet = time.After(settle)
			}
		case err := <-w.Errors:
			if err != nil { // events were lost: look again
				quiet = time.After(settle)
			}
		case <-tick.C:
			addTree(w, dirs)
			changed()
		case <-quiet:
			quiet = nil
			addTree(w, dirs)
			changed()
		}
	}
}

// addTree watches the folders and all below; adding one twice is nothing.
func addTree(w *fsnotify.Watcher, dirs []string) {
	for _, dir := range dirs {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				_ = w.Add(path)
			}
			return nil
		})
	}
}
