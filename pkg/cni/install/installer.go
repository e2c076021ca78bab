package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/weftmesh/weft/pkg/cni"
	"github.com/weftmesh/weft/pkg/cni/plugin"
)

// Options of an Installer. The folders and Plugin are required; all paths but HostSocket are as we see them.
type Options struct {
	// ConfDir is the container runtime's configuration folder, BinDir that of its plugins.
	ConfDir, BinDir string
	// Plugin is the binary to install. It has to be static: it runs on the node.
	Plugin string
	// HostSocket is the agent's socket as the node sees it. Empty: cni.DefaultSocket.
	HostSocket string
	// Pins is the folder of the node's pinned eBPF maps, as the node sees it. Empty: the plugin leaves them alone.
	Pins string
	// Resync is how often everything is looked at without being told to. 0: 5 s.
	Resync time.Duration
	// MaxPause is the longest pause between two changes of a file that somebody keeps changing back. 0: 5 s.
	MaxPause time.Duration
	// Watcher makes what tells of changes. Without one, as where the node's inotify instances are used up, everything
	// is looked at more often. nil: fsnotify.NewWatcher.
	Watcher func() (*fsnotify.Watcher, error)
	// Metrics; nil: none.
	Metrics *Metrics
	// Log; nil: none.
	Log *zap.Logger
}

// Installer keeps the plugin in the node's CNI configuration.
type Installer struct {
	o      Options
	log    *zap.Logger
	conf   folder
	binary *binary
	entry  []byte
	pause  pause
	made   map[string]string // lists that we have made, and what of

	running sync.Mutex // held by Run

	mu  sync.Mutex // protects err
	err error      // of the last round
}

// errNotYet is what Ready says before the first round.
var errNotYet = errors.New("the CNI plugin has not been installed yet")

// New checks the options and reads the plugin. It changes nothing.
func New(o Options) (*Installer, error) {
	if o.Resync <= 0 {
		o.Resync = 5 * time.Second
	}
	if o.MaxPause <= 0 {
		o.MaxPause = 5 * time.Second
	}
	if o.Watcher == nil {
		o.Watcher = fsnotify.NewWatcher
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	b, err := openBinary(o.Plugin, o.BinDir)
	if err != nil {
		return nil, err
	}
	entry, err := json.Marshal(plugin.Conf{Type: cni.PluginName, Socket: o.HostSocket, Pins: o.Pins})
	if err != nil {
		return nil, err
	}
	return &Installer{o: o, log: o.Log, conf: folder(o.ConfDir), binary: b, entry: entry, pause: pause{max: o.MaxPause}, err: errNotYet,
		made: map[string]string{}}, nil
}

// Ready tells whether the next pod's start goes through the plugin, and if not, why.
func (in *Installer) Ready() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// Run installs the plugin and keeps it installed until ctx ends; it then stays.
func (in *Installer) Run(ctx context.Context) error {
	in.running.Lock()
	defer in.running.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	if err := sweep(in.o.ConfDir, in.o.BinDir); err != nil {
		in.log.Warn("remove what a former agent left half done", zap.Error(err))
	}
	w := watch{open: in.o.Watcher, log: in.log}
	defer w.close()
	for {
		w.add(in.o.ConfDir, in.o.BinDir)
		changed, err := in.round()
		in.note(changed, err)
		if !sleep(ctx, in.pause.after(changed, time.Now())) || !w.wait(ctx, in.o.Resync) {
			return nil
		}
	}
}

// Wait returns when Run has ended, or has not begun; its ctx has to be cancelled before. Then Remove can begin.
func (in *Installer) Wait() {
	in.running.Lock()
	in.running.Unlock() //nolint:staticcheck // nothing is to be done in between
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// round makes everything as it is to be: first the binary, then the entry that names it.
func (in *Installer) round() (changed bool, err error) {
	copied, err := in.binary.put()
	if copied {
		in.o.Metrics.changes.WithLabelValues("plugin").Inc()
		in.log.Info("CNI plugin copied", zap.String("to", in.binary.to))
	}
	if err != nil {
		return false, err
	}
	name, firstErr := in.conf.first()
	if name == "" {
		return false, errors.Join(firstErr, in.clear(""))
	}
	place, err := in.conf.place(name)
	if err != nil {
		return false, errors.Join(firstErr, err)
	}
	edit := func(text []byte) ([]byte, error) { return chain(text, in.entry) }
	if place == name {
		changed, err = replace(in.conf.path(name), edit)
	} else {
		changed, err = in.conf.make(name, place, in.made, edit)
	}
	if err != nil {
		return changed, errors.Join(firstErr, fmt.Errorf("chain %s to %s: %w", cni.PluginName, in.conf.path(name), err))
	}
	if changed {
		in.o.Metrics.changes.WithLabelValues("conf").Inc()
		in.log.Info("CNI plugin chained", zap.String("to", in.conf.path(name)), zap.String("in", in.conf.path(place)))
	}
	return changed, errors.Join(firstErr, in.clear(place))
}

// clear takes our entry out of all files but the one that counts.
func (in *Installer) clear(but string) error {
	names, err := in.conf.names()
	for _, n := range names {
		if n == but || strings.Contains(n, tmpMark) {
			continue
		}
		changed, outErr := in.conf.takeOut(n)
		if changed && outErr == nil {
			in.log.Info("CNI plugin taken out of a file that does not count any more", zap.String("file", in.conf.path(n)))
		}
		err = errors.Join(err, outErr)
	}
	return err
}

// note keeps what came of a round, and logs it where it is news.
func (in *Installer) note(changed bool, err error) {
	if n := in.pause.quarrel; changed && n >= quarrelAt {
		err = errors.Join(err, fmt.Errorf("somebody has changed the CNI configuration in %s back %d times: another installer that tolerates no plugin but its own (with Cilium, cni.exclusive=false helps)", in.conf, n))
	}
	in.mu.Lock()
	was := in.err
	in.err = err
	in.mu.Unlock()
	in.o.Metrics.round(err)
	switch {
	case err == nil && was != nil:
		in.log.Info("pods start captured: the CNI plugin is in place", zap.String("folder", in.o.ConfDir))
	case err != nil && (was == nil || was.Error() != err.Error()):
		in.log.Warn("pods may start before they are captured: the CNI plugin is not in place; trying again", zap.String("cause", cause(err)), zap.Error(err))
	}
}

// sweep removes what was being written when a former agent died.
func sweep(dirs ...string) error {
	var errs []error
	for _, d := range dirs {
		left, err := filepath.Glob(filepath.Join(d, ".*"+tmpMark+"*"))
		errs = append(errs, err)
		for _, path := range left {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(errs...)
}
