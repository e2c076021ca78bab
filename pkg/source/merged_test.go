package source

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// TestEditsAreMerge writes, empties, breaks and removes files at random, and compares what a folder that follows them
// has with what is merged of the same files anew.
func TestEditsAreMerge(t *testing.T) {
	edited, merges := 0, 0
	for seed := range 12 {
		d := rand.New(rand.NewPCG(uint64(seed), 1))
		root := t.TempDir()
		now := time.Unix(1_800_000_000, 0)
		dir := open(t, Options{Dirs: []string{root}, Now: func() time.Time { return now }})
		for step := range 60 {
			path := filepath.Join(root, fmt.Sprintf("f%d.yaml", d.IntN(6)))
			if d.IntN(4) == 0 {
				if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
			} else {
				write(t, path, someObjects(d, filepath.Base(path), step))
			}
			dir.mark(path)
			now = now.Add(time.Duration(d.IntN(400)) * time.Millisecond)
			before := dir.last.objects
			got, _ := dir.Load()
			if dir.last.objects != nil && before != nil {
				edited++
			} else {
				merges++
			}
			want, _ := dir.merge()
			want.Announcements = got.Announcements
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("mesh %d, step %d: %s, merged %s", seed, step, names(got), names(want))
			}
		}
	}
	if edited < 100 || merges < 50 {
		t.Errorf("%d times lists were edited, %d times merged: this compares too little", edited, merges)
	}
}

// someObjects are mostly a file's own; sometimes another has them as well, or they are broken.
func someObjects(d *rand.Rand, file string, step int) string {
	text := ""
	for i := range d.IntN(4) {
		name := fmt.Sprintf("%s-%d", file[:2], i)
		if d.IntN(25) == 0 {
			name = "f0-1"
		}
		text += fmt.Sprintf("---\napiVersion: v1\nkind: %s\nmetadata: {name: %s, namespace: x, labels: {step: s%d}}\nspec: {ports: [{port: 80}]}\n", []string{"Service", "Service", "Secret"}[d.IntN(3)], name, step)
		if d.IntN(30) == 0 {
			text += "---\napiVersion: weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: x}\nspec: {nonsense: 1}\n"
		}
	}
	return text
}
