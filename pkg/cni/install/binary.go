package install

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weftmesh/weft/pkg/cni"
)

// binary is the plugin's file on the node.
type binary struct {
	from, to string
	want     [sha256.Size]byte
	seen     fs.FileInfo // of what has been found to be right; nil: nothing yet
}

// open reads what is to be installed.
func openBinary(from, dir string) (*binary, error) {
	sum, _, err := hash(from)
	if err != nil {
		return nil, fmt.Errorf("the plugin in the agent's image: %w (is --cni-plugin right?)", err)
	}
	return &binary{from: from, to: filepath.Join(dir, cni.PluginName), want: sum}, nil
}

func hash(path string) (sum [sha256.Size]byte, fi fs.FileInfo, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, nil, err
	}
	defer f.Close()
	if fi, err = f.Stat(); err != nil {
		return sum, nil, err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), fi, err
}

// put makes sure that the node has it: whole, or as it was before.
func (b *binary) put() (changed bool, err error) {
	if fi, err := os.Lstat(b.to); err == nil && b.seen != nil && same(fi, b.seen) {
		return false, nil
	}
	sum, fi, err := hash(b.to)
	if err == nil && sum == b.want && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 == 0o111 {
		b.seen = fi
		return false, nil
	}
	tmp := temporary(b.to)[0]
	if err := b.copy(tmp); err != nil {
		return false, errors.Join(fmt.Errorf("copy the plugin to %s: %w", b.to, err), remove(tmp))
	}
	if err := errors.Join(os.Rename(tmp, b.to), syncDir(b.to)); err != nil {
		return false, err
	}
	b.seen, err = os.Lstat(b.to)
	return true, err
}

func same(a, b fs.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

func (b *binary) copy(tmp string) error {
	in, err := os.Open(b.from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := remove(tmp); err != nil {
		return err
	}
	out, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = errors.Join(out.Chmod(0o755), out.Sync())
	}
	return errors.Join(err, out.Close())
}
