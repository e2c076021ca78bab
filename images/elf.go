package main

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// libraryDirs are where Debian, Ubuntu, Fedora and their like keep libraries, for each ELF machine.
var libraryDirs = map[elf.Machine][]string{
	elf.EM_X86_64:  {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64"},
	elf.EM_AARCH64: {"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64"},
}

// sharedLibraries are the files of this machine that a program needs to start: its loader and the libraries
// that it names, and those that they name. A static program needs none. Paths stay as found, since the
// loader looks where its distribution keeps libraries.
func sharedLibraries(program string) ([]file, error) {
	loader, machine, needed, err := dynamic(program)
	if err != nil || loader == "" {
		return nil, err
	}
	found := map[string]file{}
	add := func(path string) error {
		if _, there := found[path]; there {
			return nil
		}
		real, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		found[path] = file{path: path, mode: 0o755, from: real}
		_, _, more, err := dynamic(real)
		needed = append(needed, more...)
		return err
	}
	if err := add(loader); err != nil {
		return nil, fmt.Errorf("the loader of %s: %w", program, err)
	}
	for i := 0; i < len(needed); i++ { // add appends
		if needed[i] == filepath.Base(loader) {
			continue
		}
		path, err := findLibrary(needed[i], machine)
		if err != nil {
			return nil, fmt.Errorf("%s needs %s: %w", program, needed[i], err)
		}
		if err := add(path); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b file) int { return cmp.Compare(a.path, b.path) }), nil
}

// dynamic reads of a binary its loader (empty when it is static, or itself a library), its machine and the
// libraries that it names.
func dynamic(path string) (loader string, machine elf.Machine, needed []string, err error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", 0, nil, fmt.Errorf("%s is not a Linux program: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return "", 0, nil, fmt.Errorf("read the loader's name in %s: %w", path, err)
		}
		loader = strings.TrimRight(string(b), "\x00")
	}
	needed, err = f.ImportedLibraries()
	if err != nil {
		return "", 0, nil, fmt.Errorf("read the libraries of %s: %w", path, err)
	}
	return loader, f.Machine, needed, nil
}

func findLibrary(name string, machine elf.Machine) (string, error) {
	for _, dir := range libraryDirs[machine] {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", fmt.Errorf("not in any of %s; install the C library for %s", strings.Join(libraryDirs[machine], ", "), machine)
}
