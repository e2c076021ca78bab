package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/api"
)

// Every kind of ours has a schema in the program, and it compiles.
func TestEveryKindHasASchema(t *testing.T) {
	for name := range api.Resources {
		s, err := loadSchema(name)
		if err != nil || s == nil || s.structural == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkLoadPolicies(b *testing.B) {
	dir := b.TempDir()
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "---\napiVersion: weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: p%d, namespace: shop}\nspec: {selector: {matchLabels: {app: pay}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/a, cluster.local/ns/shop/sa/b]}}], to: [{operation: {ports: ['80'], paths: [/x]}}]}]}\n", i)
	}
	if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d, err := Open(Options{Dirs: []string{dir}})
		if err != nil {
			b.Fatal(err)
		}
		if objs, problems := d.Load(); len(objs.AuthorizationPolicies) != 1000 || len(problems) > 0 {
			b.Fatal(problems[0])
		}
	}
}

func BenchmarkCompileSchemas(b *testing.B) {
	for b.Loop() {
		for name := range api.Resources {
			if _, err := loadSchema(name); err != nil {
				b.Fatal(err)
			}
		}
	}
}
