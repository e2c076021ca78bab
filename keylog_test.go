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

// recordLayer is the one package that may ask crypto/tls for its keys.
const recordLayer = "pkg/hbone/record"

// Whoever sets a tls.Config's KeyLogWriter can read what the connections carry. Tests may not either, since
// they are copied from. Setting it to nil is welcome.
func TestOnlyTheRecordLayerSeesKeys(t *testing.T) {
	found := false
	files := token.NewFileSet()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "build" || path != "." && strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, at := range keyLoggers(f) {
			if filepath.ToSlash(filepath.Dir(path)) == recordLayer {
				found = true
				continue
			}
			t.Errorf("%s: KeyLogWriter gives away the keys of a connection; only %s may have them", files.Position(at), recordLayer)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !found {
		t.Errorf("%s does not use KeyLogWriter: does this test still look for the right thing?", recordLayer)
	}
}

// keyLoggers finds where KeyLogWriter gets a value that is not nil.
func keyLoggers(f *ast.File) (at []token.Pos) {
	isNil := func(e ast.Expr) bool { id, ok := e.(*ast.Ident); return ok && id.Name == "nil" }
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.KeyValueExpr:
			if id, ok := n.Key.(*ast.Ident); ok && id.Name == "KeyLogWriter" && !isNil(n.Value) {
				at = append(at, n.Pos())
			}
		case *ast.AssignStmt:
			for i, l := range n.Lhs {
				sel, ok := l.(*ast.SelectorExpr)
				if ok && sel.Sel.Name == "KeyLogWriter" && (len(n.Lhs) != len(n.Rhs) || !isNil(n.Rhs[i])) {
					at = append(at, n.Pos())
				}
			}
		case *ast.UnaryExpr: // its address, to be set elsewhere
			if sel, ok := n.X.(*ast.SelectorExpr); ok && n.Op == token.AND && sel.Sel.Name == "KeyLogWriter" {
				at = append(at, n.Pos())
			}
		}
		return true
	})
	return at
}
