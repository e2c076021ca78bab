package source

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// starve takes all free descriptors from this process until the returned function is called.
func starve(t *testing.T) (feed func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	feed = func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(feed)
	return feed
}

// Without descriptors everything stays as it was, announcements too: a pod that is not known to be captured
// any more would be sent plain text.
func TestWithoutDescriptorsAllStays(t *testing.T) {
	root := t.TempDir()
	d := open(t, Options{Dirs: []string{filepath.Join(root, "src")}, StatusDir: filepath.Join(root, "status")})
	file, said := filepath.Join(root, "src/deep/f.yaml"), filepath.Join(root, "status/pods/x_p.json")
	write(t, file, twoServices)
	write(t, said, `{"redirection":"enabled"}`)
	state := func() string {
		o, problems := d.Load()
		out := names(o) + "|" + o.Announcements["x/p"].Redirection
		for _, p := range problems {
			if !p.LastGood && p.File == said {
				t.Errorf("not said to be the last good one: %v", p)
			}
		}
		return out
	}
	if got := state(); got != "a:80 b:80|enabled" {
		t.Fatal(got)
	}
	write(t, file, strings.Replace(twoServices, "port: 80", "port: 81", 1))
	write(t, said, `{"redirection": "enabled"}`)
	feed := starve(t)
	got, short := state(), d.short
	feed()
	if got != "a:80 b:80|enabled" || !short {
		t.Errorf("without descriptors: %s, %v", got, short)
	}
	if got := state(); got != "a:81 b:80|enabled" || d.short {
		t.Errorf("with descriptors again: %s, %v", got, d.short)
	}
	write(t, said, `{"redirec`) // half written
	if got := state(); got != "a:81 b:80|enabled" {
		t.Errorf("half an announcement: %s", got)
	}
	if err := os.Remove(said); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "a:81 b:80|" {
		t.Errorf("taken back: %s", got)
	}
}

// Nothing is reported before everything could be read once: half would be taken for all there is.
func TestFirstReportIsComplete(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f.yaml"), twoServices)
	d := open(t, Options{Dirs: []string{dir}})
	ctx, cancel := context.WithCancel(context.Background())
	got, done := make(chan string, 10), make(chan error, 1)
	feed := starve(t)
	go func() { done <- d.Run(ctx, func(o *Objects, _ []Problem) { got <- names(o) }) }()
	select {
	case first := <-got:
		t.Errorf("without descriptors it reported %q", first)
	case <-time.After(2 * pollEvery): // long enough for a wrong report
	}
	feed()
	select {
	case first := <-got:
		if first != "a:80 b:80" {
			t.Errorf("first report is %q", first)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing is reported with descriptors again")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
