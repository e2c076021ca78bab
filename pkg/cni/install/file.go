package install

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settleFor is how long a writer is waited for, and settleEvery how often it is looked whether it has finished.
	settleFor   = time.Second
	settleEvery = 2 * time.Millisecond
	// maxConf is how large a file may be, in bytes.
	maxConf = 1 << 20
)

// errBusy: somebody writes the file and does not come to an end.
var errBusy = errors.New("is being written by somebody")

// read reads a file, not a link, that nobody has open for writing.
func read(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if err := lease(f); err != nil {
		return nil, nil, fmt.Errorf("%s %w", path, err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s: %w: not a file", path, errMalformed)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxConf+1))
	if err == nil && len(b) > maxConf {
		err = fmt.Errorf("%s: %w: more than %d bytes", path, errMalformed, maxConf)
	}
	return b, fi, err
}

// lease waits until nobody writes the file. While f is open, no writer gets in: it waits for f to be closed.
func lease(f *os.File) error {
	for deadline := time.Now().Add(settleFor); ; time.Sleep(settleEvery) {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		switch {
		case !errors.Is(err, unix.EAGAIN):
			return nil // granted, or the filesystem has none: then the text alone has to tell
		case time.Now().After(deadline):
			return errBusy
		}
	}
}

// write makes a file with what it is to have before anybody sees it under its name. like gives mode and owner.
func write(path string, text []byte, like fs.FileInfo) (err error) {
	if err := remove(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(like.Mode().Perm())
	}
	if st, ok := like.Sys().(*syscall.Stat_t); ok && err == nil {
		err = f.Chown(int(st.Uid), int(st.Gid))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDir has the names in path's folder survive a power cut.
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
