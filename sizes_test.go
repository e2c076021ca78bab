package weft_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Where a file or a function grows past these many lines, something in it asks for a name of its own.
const (
	fileLines     = 400
	functionLines = 80
)

func TestFilesAndFunctionsAreShort(t *testing.T) {
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "build" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if ast.IsGenerated(f) {
			return nil
		}
		if n := files.Position(f.FileEnd).Line; n > fileLines {
			t.Errorf("%s has %d lines, more than %d: give a part of it a file of its own", path, n, fileLines)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := files.Position(fn.Pos()).Line, files.Position(fn.End()).Line
			if n := to - from + 1; n > functionLines {
				t.Errorf("%s:%d: %s has %d lines, more than %d: name its parts", path, from, fn.Name.Name, n, functionLines)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
