package main

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// packUsage is of `weft-images pack`, by which the tests make images of programs that are not Weft's.
const packUsage = "pack [-add FILE=PATH]... REFERENCE ARCHIVE.tar PROGRAM..."

// pack writes an archive of static programs, which land in /usr/local/bin; the first one is the entry point.
func pack(args []string, w io.Writer) error {
	b := build{version: "none", revision: "none"}
	b.at, _ = epoch("")
	files := baseFiles()
	f := flag.NewFlagSet("pack", flag.ContinueOnError)
	f.Func("add", "FILE=PATH, a file of this machine and where it goes, repeatable", func(s string) error {
		from, path, ok := strings.Cut(s, "=")
		if !ok || !strings.HasPrefix(path, "/") {
			return fmt.Errorf("want FILE=/PATH")
		}
		files = append(files, file{path: path, mode: 0o644, from: from})
		return nil
	})
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() < 3 {
		return fmt.Errorf("usage: weft-images %s", packUsage)
	}
	ref, err := name.NewTag(f.Arg(0))
	if err != nil {
		return err
	}
	out, programs := f.Arg(1), f.Args()[2:]
	for _, p := range programs {
		if err := static(p); err != nil {
			return err
		}
		files = append(files, file{path: "/usr/local/bin/" + filepath.Base(p), mode: 0o755, from: p})
	}
	p := program{name: filepath.Base(programs[0]), about: ref.String(), user: "65532:65532"}
	platform := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	img, bom, err := b.assemble(p, platform, [][]file{files})
	if err != nil {
		return err
	}
	if err := archive(filepath.Dir(out), strings.TrimSuffix(filepath.Base(out), ".tar"), ref, img, bom); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s  %s\n", out, ref)
	return nil
}
