package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// Options configure Open.
type Options struct {
	// Dirs are the folders (or single files), each with all folders below it: *.yaml, *.yml and *.json but
	// for names that begin with a dot. One that does not exist is empty until it does.
	Dirs []string
	// StatusDir, if set, is where agents announce pods: pods/<namespace>_<name>.json.
	StatusDir string
	// Quiet is how long nothing may change before a change is read, at most MaxWait after its beginning.
	// Defaults 20 ms and 100 ms.
	Quiet, MaxWait time.Duration
	// Resync is how often everything is looked at without a notice of change. Default 10 s.
	Resync time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Logger, default none.
	Logger *zap.Logger
}

// Dir reads folders. Load and Run may be called from one goroutine at a time.
type Dir struct {
	o     Options
	files []map[string]*file // for each of o.Dirs, by path
	gens  map[key]generation
	said  map[string]announced // by path
	reads int                  // grows whenever something was read, removed or found unreadable
	short bool                 // the last Load lacked descriptors or memory
	last  merged               // what merge made last

	mu    sync.Mutex      // protects dirty
	dirty map[string]bool // paths to be read again whatever their stamp says
}

// stamp tells versions of a file apart without reading it.
type stamp struct {
	size int64
	mod  time.Time
}

func (s stamp) same(t stamp) bool { return s.size == t.size && s.mod.Equal(t.mod) }

// generation counts the versions of one object.
type generation struct {
	text string
	n    int64
}

// Parse reads a --source flag: dir:PATH.
func Parse(flag string) (dir string, err error) {
	kind, path, ok := strings.Cut(flag, ":")
	if !ok || kind != "dir" || path == "" {
		return "", fmt.Errorf("source %q: want dir:PATH, the folder with the manifests", flag)
	}
	return path, nil
}

// Open prepares reading; nothing is read yet.
func Open(o Options) (*Dir, error) {
	if len(o.Dirs) == 0 {
		return nil, errors.New("no folder to read objects from: give at least one --source dir:PATH")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.Quiet, 20*time.Millisecond)
	def(&o.MaxWait, 100*time.Millisecond)
	def(&o.Resync, 10*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	d := &Dir{o: o, gens: map[key]generation{}, said: map[string]announced{}, dirty: map[string]bool{}}
	for range o.Dirs {
		d.files = append(d.files, map[string]*file{})
	}
	return d, nil
}

// Load reads what has changed and returns everything.
func (d *Dir) Load() (*Objects, []Problem) {
	d.mu.Lock()
	dirty := d.dirty
	d.dirty = map[string]bool{}
	d.mu.Unlock()
	d.short = false
	var problems []Problem
	for i, dir := range d.o.Dirs {
		problems = append(problems, d.scan(dir, d.files[i], dirty)...)
	}
	objects, more := d.join()
	problems = append(problems, more...)
	objects.Announcements, more = d.announcements(dirty)
	problems = append(problems, more...)
	sortProblems(problems)
	return objects, problems
}

// scan brings the files of one folder up to date.
func (d *Dir) scan(dir string, files map[string]*file, dirty map[string]bool) []Problem {
	var problems []Problem
	seen := map[string]bool{}
	err := walk(dir, func(path, real string, info fs.FileInfo) {
		seen[path] = true
		d.refresh(path, info, files, dirty[real])
		problems = append(problems, files[path].problems...)
	})
	if err != nil {
		// Part of the tree could not be listed: what was there before stays, rather than be taken for deleted.
		d.unread(err)
		problems = append(problems, Problem{Severity: Error, File: dir, Message: "cannot be listed: " + err.Error(), Suggestion: "look at its permissions; it is tried again"})
		return problems
	}
	for path, f := range files {
		if seen[path] {
			continue
		}
		// A listing may miss a file that is renamed over meanwhile.
		if _, err := os.Stat(path); err == nil {
			problems = append(problems, f.problems...)
			continue
		}
		if len(f.entries) == 0 || d.believed(f, false) {
			delete(files, path)
			d.last.replace(f, nil)
			d.reads++
		}
	}
	return problems
}

// fadeFor is how long objects must be missing from their file, or the file itself, before that is believed:
// editors that write in place truncate first or write in pieces, others move the old file away first.
const fadeFor = 250 * time.Millisecond

// believed reports whether what is missing from f has been so for long enough; a change begins anew.
func (d *Dir) believed(f *file, changed bool) bool {
	now := d.o.Now()
	if changed || !f.fading() {
		f.since = now
	}
	return now.Sub(f.since) >= fadeFor
}

// refresh reads one file if it may have changed.
func (d *Dir) refresh(path string, info fs.FileInfo, files map[string]*file, force bool) {
	before := files[path]
	now := stamp{size: info.Size(), mod: info.ModTime()}
	changed := before == nil || force || !before.stamp.same(now)
	if !changed && !before.fading() {
		return
	}
	data, err := os.ReadFile(path)
	var f *file
	if err != nil {
		d.unread(err)
		f = unreadable(path, err, before)
		now = stamp{size: -1} // tried again next time
	} else {
		f = readFile(path, data, before)
	}
	if before != nil && f.lacks(before) && !d.believed(before, changed) {
		before.stamp = now
		return
	}
	f.stamp = now
	d.reads++
	d.number(f)
	d.last.replace(before, f)
	files[path] = f
}

// unread notes that something could not be read for now.
func (d *Dir) unread(err error) {
	d.reads++
	d.short = d.short || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// number gives objects without a generation one that grows with each version.
func (d *Dir) number(f *file) {
	for k, e := range f.entries {
		if e.object.GetGeneration() != 0 {
			continue
		}
		g := d.gens[k]
		if g.text != e.text {
			g = generation{text: e.text, n: g.n + 1}
			d.gens[k] = g
		}
		e.object.SetGeneration(g.n)
	}
}

// waiting reports whether something is missing and that is not yet believed.
func (d *Dir) waiting() bool {
	for _, files := range d.files {
		for _, f := range files {
			if f.fading() {
				return true
			}
		}
	}
	return false
}

// walk visits the manifests below root in a fixed order; real is the path without links of the root. A root
// that does not exist has none; so has what vanishes while it is walked.
func walk(root string, visit func(path, real string, info fs.FileInfo)) error {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return ignoreMissing(err)
	}
	return filepath.WalkDir(real, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return ignoreMissing(err)
		}
		shown := root + strings.TrimPrefix(path, real)
		if e.IsDir() {
			if path != real && strings.HasPrefix(e.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !isManifest(path) {
			return nil
		}
		info, err := os.Stat(path) // through symbolic links
		if err != nil {
			return ignoreMissing(err)
		}
		if info.Mode().IsRegular() {
			visit(shown, path, info)
		}
		return nil
	})
}

func isManifest(path string) bool {
	ext := filepath.Ext(path)
	return slices.Contains([]string{".yaml", ".yml", ".json"}, ext) && !strings.HasPrefix(filepath.Base(path), ".")
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
