package bpf

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"
)

func TestExpedite(t *testing.T) {
	dir := t.TempDir()
	e := newExpedite(dir, zap.NewNop())
	e.file = filepath.Join(dir, "rcu_expedited")
	write := func(v string) { must(t, os.WriteFile(e.file, []byte(v), 0o644)) }
	expect := func(what, want string) {
		t.Helper()
		b, err := os.ReadFile(e.file)
		must(t, err)
		if string(b) != want {
			t.Errorf("%s: %q, want %q", what, b, want)
		}
	}
	e.begin()()
	if _, err := os.Stat(e.file); err == nil {
		t.Error("made a file of the kernel's")
	}
	write("0")
	var ends []func()
	begin := func(n int) {
		for range n {
			ends = append(ends, e.begin())
		}
	}
	end := func(n int) {
		for range n {
			ends[0]()
			ends = ends[1:]
		}
	}
	begin(expediteFrom - 1)
	expect("few", "0")
	begin(2)
	expect("many", "1")
	end(expediteFrom)
	expect("until the last", "1")
	end(1)
	expect("done", "0")
	write("1\n")
	begin(expediteFrom)
	end(expediteFrom)
	expect("set by somebody else", "1\n")

	write("0")
	begin(expediteFrom)
	next := newExpedite(dir, zap.NewNop()) // e was killed
	next.file = e.file
	next.recover()
	expect("a successor", "0")
	next.recover()
	if _, err := os.Stat(e.marker); err == nil {
		t.Error("the marker stays")
	}
}
