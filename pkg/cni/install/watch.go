package install

import (
	"context"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// blind is how often folders are looked at that cannot be watched.
const blind = 250 * time.Millisecond

// watch tells when to look at the folders again.
type watch struct {
	open   func() (*fsnotify.Watcher, error)
	log    *zap.Logger
	w      *fsnotify.Watcher // nil: there is none, and it is tried again
	warned bool
}

func (w *watch) close() {
	if w.w != nil {
		w.w.Close()
	}
}

// add watches folders. What is not there cannot be watched; it is found when it is looked at anyway.
func (w *watch) add(dirs ...string) {
	if w.w == nil {
		var err error
		if w.w, err = w.open(); err != nil {
			w.w = nil
			if !w.warned {
				w.log.Warn("the CNI configuration cannot be watched and is looked at every so often instead; raise fs.inotify.max_user_instances",
					zap.Duration("every", blind), zap.Error(err))
			}
			w.warned = true
			return
		}
		w.warned = false
	}
	for _, d := range dirs {
		_ = w.w.Add(d)
	}
}

// wait returns after an event, or when it is time to look anyway; false: ctx has ended.
func (w *watch) wait(ctx context.Context, anyway time.Duration) bool {
	if w.w == nil {
		return sleep(ctx, min(blind, anyway))
	}
	t := time.NewTimer(anyway)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
			return true
		case err := <-w.w.Errors:
			w.log.Warn("watch the CNI configuration", zap.Error(err))
			return true
		case e := <-w.w.Events:
			if !strings.Contains(e.Name, tmpMark) {
				return true
			}
		}
	}
}
