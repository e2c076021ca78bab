package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"time"
)

// file is one entry of an image.
type file struct {
	path string // absolute
	mode int64  // permission bits
	uid  int    // owner and group
	dir  bool
	link string // target, of a symbolic link

	// Either content or from, a path of this machine.
	content []byte
	from    string
}

// open gives the content and its length in bytes.
func (f file) open() (io.ReadCloser, int64, error) {
	if f.from == "" {
		return io.NopCloser(bytes.NewReader(f.content)), int64(len(f.content)), nil
	}
	in, err := os.Open(f.from)
	if err != nil {
		return nil, 0, err
	}
	st, err := in.Stat()
	if err != nil {
		in.Close()
		return nil, 0, err
	}
	return in, st.Size(), nil
}

// header is the entry's, without anything that differs from one build to the next.
func (f file) header(size int64, at time.Time) *tar.Header {
	h := &tar.Header{
		Typeflag: tar.TypeReg, Name: f.path[1:], Mode: f.mode, Uid: f.uid, Gid: f.uid,
		Size: size, ModTime: at, Format: tar.FormatUSTAR,
	}
	switch {
	case f.dir:
		h.Typeflag, h.Name, h.Size = tar.TypeDir, h.Name+"/", 0
	case f.link != "":
		h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.link, 0
	}
	return h
}

// withParents adds the folders that entries lie in and sorts all of them, parents first.
func withParents(files []file) ([]file, error) {
	all := map[string]file{}
	for _, f := range files {
		if _, twice := all[f.path]; twice {
			return nil, fmt.Errorf("two entries for %s", f.path)
		}
		all[f.path] = f
	}
	for _, f := range files {
		for d := path.Dir(f.path); d != "/"; d = path.Dir(d) {
			if _, there := all[d]; !there {
				all[d] = file{path: d, mode: 0o755, dir: true}
			}
		}
	}
	out := make([]file, 0, len(all))
	for _, f := range all {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	return out, nil
}

// writeTar writes entries and their folders.
func writeTar(w io.Writer, files []file, at time.Time) error {
	all, err := withParents(files)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	for _, f := range all {
		if err := writeEntry(tw, f, at); err != nil {
			return fmt.Errorf("add %s: %w", f.path, err)
		}
	}
	return tw.Close()
}

func writeEntry(tw *tar.Writer, f file, at time.Time) error {
	in, size, err := f.open()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := tw.WriteHeader(f.header(size, at)); err != nil {
		return err
	}
	if f.dir || f.link != "" {
		return nil
	}
	_, err = io.Copy(tw, in)
	return err
}
