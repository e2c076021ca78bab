package install

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tmpMark is in the names of files that are being made.
const tmpMark = ".weft-tmp"

// temporary names are of what is to become the file at path; no runtime reads them.
func temporary(path string) [2]string {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+tmpMark)
	return [2]string{tmp, tmp + "2"}
}

// replacement is one run of replace.
type replacement struct {
	path string
	edit func([]byte) ([]byte, error)
	like fs.FileInfo // mode and owner
}

// replace edits the file at path. Readers see the old text or the new one. What others write meanwhile is edited in
// its turn; if that fails, it is put back as it came.
func replace(path string, edit func([]byte) ([]byte, error)) (changed bool, err error) {
	text, fi, err := read(path)
	if err != nil {
		return false, err
	}
	put, err := edit(text)
	if err != nil || bytes.Equal(put, text) {
		return false, err
	}
	r := replacement{path: path, edit: edit, like: fi}
	tmp := temporary(path)
	if err := write(tmp[0], put, fi); err != nil {
		return false, err
	}
	if err := r.run(tmp, text, put); err != nil {
		return false, err
	}
	return true, syncDir(path)
}

// run swaps tmp[0], which has put, with the file, until what comes back is what was thought to be there.
func (r replacement) run(tmp [2]string, expected, put []byte) error {
	if err := r.swap(tmp[0], expected); err != nil {
		return errors.Join(err, remove(tmp[0]))
	}
	got, _, err := read(tmp[0])
	if errors.Is(err, fs.ErrNotExist) || err == nil && bytes.Equal(got, expected) {
		return remove(tmp[0])
	}
	// Somebody has written since we read, and tmp[0] is his.
	if err == nil {
		var next []byte
		if next, err = r.edit(got); err == nil {
			if err = write(tmp[1], next, r.like); err == nil {
				return errors.Join(r.run([2]string{tmp[1], tmp[0]}, put, next), remove(tmp[0]))
			}
		}
	}
	return errors.Join(fmt.Errorf("%s has changed meanwhile: %w", r.path, err), exchange(tmp[0], r.path), remove(tmp[0]))
}

// swap exchanges tmp and the file. Where the filesystem cannot do that, tmp takes the file's place if that still has
// the text that is expected.
func (r replacement) swap(tmp string, expected []byte) error {
	err := exchange(tmp, r.path)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	got, _, err := read(r.path)
	if err == nil && !bytes.Equal(got, expected) {
		err = fmt.Errorf("%s %w", r.path, errBusy)
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, r.path)
}

func exchange(a, b string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE); err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}
