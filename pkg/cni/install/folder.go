package install

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/cni"
)

const (
	savedSuffix = ".weft-saved" // of the original of a file that we took the place of
	listSuffix  = ".conflist"   // of lists, and what is appended to the name of a file that is none
)

// ErrNone: there is no CNI configuration.
var ErrNone = errors.New("no CNI configuration yet")

// folder is the runtime's configuration folder.
type folder string

func (d folder) path(name string) string { return filepath.Join(string(d), name) }

// isList tells lists from configurations of one plugin, as runtimes do.
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

// first is the file that counts: the first that is well formed. Some runtimes stop at a malformed one, others go on
// to the next; err tells of those that come before.
func (d folder) first() (name string, err error) {
	names, err := d.names()
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if !isConf(n) {
			continue
		}
		if parseErr := d.parse(n); parseErr == nil {
			return n, err
		} else if !errors.Is(parseErr, fs.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("%s: %w", d.path(n), parseErr))
		}
	}
	return "", errors.Join(err, fmt.Errorf("%w in %s", ErrNone, d))
}

func (d folder) parse(name string) error {
	text, err := d.follow(name)
	if err != nil {
		return err
	}
	if isList(name) {
		_, err = parseList(text)
	} else {
		_, err = convert(text)
	}
	return err
}

// follow reads a file or what a link leads to.
func (d folder) follow(name string) ([]byte, error) {
	path := d.path(name)
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	text, _, err := read(path)
	return text, err
}

// put makes sure that our entry is in the named file, which becomes a list if need be.
func (d folder) put(name string, entry []byte) (changed bool, err error) {
	edit := func(text []byte) ([]byte, error) { return chain(text, entry) }
	fi, err := os.Lstat(d.path(name))
	switch {
	case err != nil:
		return false, err
	case !isList(name):
		return true, d.takePlace(name, name+listSuffix, func(text []byte) ([]byte, error) {
			list, err := convert(text)
			if err != nil {
				return nil, err
			}
			return chain(list, entry)
		})
	case fi.Mode()&fs.ModeSymlink != 0:
		return true, d.takePlace(name, name, edit)
	}
	return replace(d.path(name), edit)
}

// takePlace saves a file and has a list in its place, which it sorts beside or has the name of. There is a file that
// runtimes can use all the time.
func (d folder) takePlace(name, list string, edit func([]byte) ([]byte, error)) error {
	text, err := d.follow(name)
	if err != nil {
		return err
	}
	put, err := edit(text)
	if err != nil {
		return err
	}
	like, err := os.Stat(d.path(name))
	if err != nil {
		return err
	}
	saved := d.path(name + savedSuffix)
	if list == name { // a link: both have to be there before they change places
		if err := write(saved, put, like); err != nil {
			return err
		}
		return errors.Join(exchange(saved, d.path(name)), syncDir(saved))
	}
	tmp := temporary(d.path(list))[0]
	if err := write(tmp, put, like); err != nil {
		return err
	}
	if err := errors.Join(os.Rename(tmp, d.path(list)), os.Rename(d.path(name), saved), syncDir(saved)); err != nil {
		return err
	}
	// What was written between our reading and our renaming is in saved now, and the list is of before.
	now, _, err := read(saved)
	if err == nil && string(now) != string(text) {
		err = fmt.Errorf("%s has changed meanwhile", d.path(name))
		if back := unix.Renameat2(unix.AT_FDCWD, saved, unix.AT_FDCWD, d.path(name), unix.RENAME_NOREPLACE); back == nil || errors.Is(back, unix.EEXIST) {
			return err // it is there again, or what is even later
		}
		err = errors.Join(err, os.Rename(saved, d.path(name)))
	}
	return err
}

// takeOut removes our entry from the named file and gives back what we took the place of. Files that runtimes do not
// read are searched as well: installers move those of others aside and may bring them back.
func (d folder) takeOut(name string) (changed bool, err error) {
	if original, ok := strings.CutSuffix(name, savedSuffix); ok {
		return true, d.giveBack(original)
	}
	fi, err := os.Lstat(d.path(name))
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxConf {
		return false, ignoreAbsent(err)
	}
	text, _, err := read(d.path(name))
	if err != nil {
		return false, ignoreAbsent(err)
	}
	if !chained(text) {
		return false, mentions(d.path(name), text)
	}
	changed, err = replace(d.path(name), unchain)
	return changed, ignoreAbsent(err)
}

// mentions complains of a file that runtimes read, that cannot be edited, and that may name our plugin.
func mentions(path string, text []byte) error {
	if _, err := parseList(text); err != nil && isList(path) && strings.Contains(string(text), `"`+cni.PluginName+`"`) {
		return fmt.Errorf("%s names our plugin and cannot be edited: %w", path, err)
	}
	return nil
}

// giveBack undoes takePlace, but for what others have added to the list meanwhile.
func (d folder) giveBack(name string) error {
	saved, list := name+savedSuffix, name
	if !isList(name) {
		list += listSuffix
	}
	text, err := d.follow(saved)
	if err != nil {
		return ignoreAbsent(err)
	}
	if chained(text) { // we ended before it was exchanged
		return remove(d.path(saved))
	}
	want := text
	if list != name {
		if want, err = convert(text); err != nil {
			return os.Rename(d.path(saved), d.path(name)) // comes first again, whatever it is
		}
	}
	now, _, err := read(d.path(list))
	switch {
	case errors.Is(err, fs.ErrNotExist) && list != name:
		now = want // somebody has removed the list that we made; the original is still his
	case err != nil:
		return err
	}
	if un, err := unchain(now); err == nil {
		now = un
	}
	_, lerr := os.Lstat(d.path(name))
	switch {
	case string(now) != string(want): // others have chained themselves, too
		_, err := replace(d.path(list), unchain)
		return errors.Join(err, remove(d.path(saved)))
	case list == name:
		return os.Rename(d.path(saved), d.path(name))
	case lerr == nil: // written anew
		return errors.Join(remove(d.path(saved)), remove(d.path(list)))
	}
	return errors.Join(os.Rename(d.path(saved), d.path(name)), remove(d.path(list)))
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
