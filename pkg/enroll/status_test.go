package enroll

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestDirStatus(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "status")
	d := NewDirStatus(dir)
	if err := d.Withdraw("u1"); err != nil {
		t.Error("nothing was announced:", err)
	}
	p := Pod{UID: "u1", Namespace: "shop", Name: "a"}
	file := filepath.Join(dir, "pods", "shop_a.json")
	for range 2 {
		if err := d.Announce(p); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(file); string(b) != `{"redirection":"enabled","uid":"u1"}`+"\n" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	// The pod was made anew: the former one's end is not the new one's.
	p.UID = "u2"
	if err := d.Announce(p); err != nil {
		t.Fatal(err)
	}
	if err := d.Withdraw("u1"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error("the new pod's announcement is gone")
	}
	// Another agent's process withdraws as well.
	if err := os.WriteFile(filepath.Join(dir, "pods", "shop_broken.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := NewDirStatus(dir).Withdraw("u2"); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(filepath.Join(dir, "pods"))
	if err != nil || len(files) != 1 || files[0].Name() != "shop_broken.json" {
		t.Error(files, err)
	}
	if err := d.Announce(Pod{UID: "u", Namespace: "shop", Name: "../../x"}); err == nil {
		t.Error("announced outside of the folder")
	}
}

func TestDirStatusConcurrently(t *testing.T) {
	d := NewDirStatus(t.TempDir())
	var wg sync.WaitGroup
	for i := range 8 {
		p := Pod{UID: string(rune('a' + i)), Namespace: "shop", Name: "same"}
		wg.Go(func() {
			for range 50 {
				if err := d.Announce(p); err != nil {
					t.Error(err)
				}
				if err := d.Withdraw(p.UID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
