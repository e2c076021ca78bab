package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/cni"
)

const (
	listSuffix = ".conflist"
	// madeSuffix is of lists that we make of files that are none. It sorts before .conf, .conflist and .json, so
	// that 10-x.by-weft.conflist takes precedence over 10-x.conf and of nothing else.
	madeSuffix = ".by-weft" + listSuffix
)

// ErrNone: there is no CNI configuration.
var ErrNone = errors.New("no CNI configuration yet")

// folder is the runtime's configuration folder.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

// isList tells lists from configurations of one plugin by their names, as runtimes do.
func isList(name string) bool { return filepath.Ext(name) == listSuffix }

// isConf tells what runtimes look at.
func isConf(name string) bool {
	return slices.Contains([]string{listSuffix, ".conf", ".json"}, filepath.Ext(name))
}

// names are all files, in the order in which runtimes take them.
func (d folder) names() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// first is the file of others that counts: the first that is well formed. Some runtimes stop at a malformed one,
// others go on to the next; err tells of those that come before.
func (d folder) first() (name string, err error) {
	names, err := d.names()
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if !isConf(n) || isMade(n) {
			continue
		}
		if _, parseErr := d.list(n); parseErr == nil {
			return n, err
		} else if !errors.Is(parseErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("%s: %w", d.path(n), parseErr))
		}
	}
	return "", errors.Join(err, fmt.Errorf("%w in %s", ErrNone, d))
}

func isMade(name string) bool { return strings.HasSuffix(name, madeSuffix) }

// list is the named file, or what a link leads to, as a list.
func (d folder) list(name string) ([]byte, error) {
	path := d.path(name)
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	text, _, err := read(path)
	if err != nil {
		return nil, err
	}
	if isList(name) {
		_, err = parseList(text)
		return text, err
	}
	return convert(text)
}

// place is where our entry goes for the named file to be chained to: into itself, or into a list made of it.
func (d folder) place(name string) (string, error) {
	fi, err := os.Lstat(d.path(name))
	if err != nil {
		return "", err
	}
	if isList(name) && fi.Mode().IsRegular() {
		return name, nil
	}
	return strings.TrimSuffix(name, filepath.Ext(name)) + madeSuffix, nil
}

// make writes a list of the named file, unless there is one and the file is as it was, in which case others may have
// chained themselves to the list.
func (d folder) make(name, list string, was map[string]string, edit func([]byte) ([]byte, error)) (changed bool, err error) {
	text, err := d.list(name)
	if err != nil {
		return false, err
	}
	if now, _, err := read(d.path(list)); err == nil && chained(now) && was[list] == string(text) {
		return false, nil
	}
	put, err := edit(text)
	if err != nil {
		return false, err
	}
	like, err := os.Stat(d.path(name))
	if err != nil {
		return false, err
	}
	tmp := temporary(d.path(list))[0]
	if err := write(tmp, put, like); err != nil {
		return false, err
	}
	if err := os.Rename(tmp, d.path(list)); err != nil {
		return false, errors.Join(err, remove(tmp))
	}
	was[list] = string(text)
	return true, syncDir(d.path(list))
}

// takeOut takes our entry out of the named file, or removes it if we made it. Files that runtimes do not read are
// searched as well: installers move those of others aside and may bring them back.
func (d folder) takeOut(name string) (changed bool, err error) {
	if isMade(name) {
		return true, ignoreAbsent(os.Remove(d.path(name)))
	}
	fi, err := os.Lstat(d.path(name))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxConf {
		return false, ignoreAbsent(err)
	}
	text, _, err := read(d.path(name))
	if err != nil || !bytes.Contains(text, []byte(cni.PluginName)) {
		return false, ignoreAbsent(err)
	}
	changed, err = replace(d.path(name), unchain)
	if err != nil && isConf(name) && !errors.Is(err, fs.ErrNotExist) {
		return changed, fmt.Errorf("%s names our plugin and cannot be edited: %w", d.path(name), err)
	}
	return changed, nil
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
