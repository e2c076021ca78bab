package install

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Installers write as fast as they can, each in another bad way, while ours is at work. What each wrote last is there
// in the end, and ours is in the first file.
func TestRace(t *testing.T) {
	n := newNode(t)
	in, stop := n.run()
	const rounds = 150
	pause := func() { time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) }
	text := func(i int) string {
		return strings.Replace(flannel, "cbr0", "cbr"+strconv.Itoa(i), 1) + strings.Repeat(" ", rand.IntN(5000)) + "\n"
	}
	last := make([]string, 4)
	var wg sync.WaitGroup
	for i, write := range []func(text string){
		func(text string) { // renames
			must(0, os.WriteFile(n.path("renames"), []byte(text), 0o644))(t)
			must(0, os.Rename(n.path("renames"), n.path("10-renames.conflist")))(t)
		},
		func(text string) { // truncates and writes slowly
			f := must(os.OpenFile(n.path("05-slow.conflist"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644))(t)
			for part := range strings.SplitAfterSeq(text, "\n") {
				must(f.WriteString(part))(t)
				if rand.IntN(4) == 0 {
					pause()
				}
			}
			must(0, f.Close())(t)
		},
		func(text string) { // opens, waits, and truncates only then
			f := must(os.OpenFile(n.path("07-late.conflist"), os.O_CREATE|os.O_WRONLY, 0o644))(t)
			pause()
			must(0, f.Truncate(0))(t)
			must(f.WriteString(text))(t)
			must(0, f.Close())(t)
		},
		func(text string) { // removes, and writes no list
			if err := os.Remove(n.path("02-gone.conf")); err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Error(err)
			}
			pause()
			must(0, os.WriteFile(n.path("02-gone.conf"), []byte(text), 0o644))(t)
		},
	} {
		wg.Go(func() {
			for j := range rounds {
				last[i] = text(i*rounds + j)
				if i == 3 {
					last[i] = strings.Replace(multus, "multus-cni", "m"+strconv.Itoa(j), 1)
				}
				write(last[i])
				pause()
			}
		})
	}
	wg.Wait()
	n.eventually("in force", func() bool { return n.inForce("02-gone.by-weft.conflist") && in.Ready() == nil })
	stop()
	n.removed(map[string]string{"10-renames.conflist": last[0], "05-slow.conflist": last[1], "07-late.conflist": last[2], "02-gone.conf": last[3]})
}

// Another plugin's installer takes ours out wherever it sees it. It is not fought at full speed, it is told of, and
// when it ends, ours is there.
func TestQuarrel(t *testing.T) {
	n := newNode(t)
	n.place("10-x.conflist", flannel)
	in, stop := n.run()
	told := false
	for i := 0; i < 400 && !told; i++ {
		n.eventually("chained", func() bool {
			told = told || in.Ready() != nil && strings.Contains(in.Ready().Error(), "back")
			return n.inForce("10-x.conflist")
		})
		n.place("10-x.conflist", flannel)
	}
	if !told {
		t.Error("nobody is told")
	}
	n.eventually("over", func() bool { return n.inForce("10-x.conflist") && in.Ready() == nil })
	stop()
	n.removed(map[string]string{"10-x.conflist": flannel})
}

// A change between our reading and our writing is edited in its turn; one that cannot be edited is put back.
func TestChangedMeanwhile(t *testing.T) {
	for later, want := range map[string]string{
		calico:     string(must(chain([]byte(calico), entry))(t)),
		"{ broken": "{ broken",
		"":         "",
	} {
		n := newNode(t)
		n.place("10-x.conflist", flannel)
		first := true
		changed, err := replace(n.path("10-x.conflist"), func(text []byte) ([]byte, error) {
			if first {
				first = false
				n.place("10-x.conflist", later)
			}
			return chain(text, entry)
		})
		if files := n.files(); len(files) != 1 || files["10-x.conflist"] != want || (err == nil) != strings.HasPrefix(want, "{\"") || changed != (err == nil) {
			t.Errorf("%q: %v %v %q", later, changed, err, files)
		}
	}
	// Gone is gone.
	n := newNode(t)
	n.place("10-x.conflist", flannel)
	if _, err := replace(n.path("10-x.conflist"), func(text []byte) ([]byte, error) {
		must(0, os.Remove(n.path("10-x.conflist")))(t)
		return chain(text, entry)
	}); !errors.Is(err, os.ErrNotExist) || len(n.files()) != 0 {
		t.Errorf("%v %v", err, n.files())
	}
}

// On a full disk nothing changes, not even by half; when there is room, all goes on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root, to mount a small disk")
	}
	for _, full := range []string{"bin", "net.d"} {
		n := newNode(t)
		dir := filepath.Join(filepath.Dir(n.o.BinDir), full)
		must(0, unix.Mount("wft-full", dir, "tmpfs", 0, "size=64k"))(t)
		t.Cleanup(func() { must(0, unix.Unmount(dir, unix.MNT_DETACH))(t) })
		text := strings.Replace(flannel, "cbr0", strings.Repeat("x", 5000), 1)
		n.place("10-x.conflist", text)
		fill := filepath.Join(dir, "fill")
		f := must(os.Create(fill))(t)
		for {
			if _, err := f.Write(make([]byte, 512)); err != nil {
				break
			}
		}
		f.Close()
		in, stop := n.run()
		n.eventually("reported", func() bool {
			return errors.Is(in.Ready(), unix.ENOSPC) && value(t, n.m.failures.WithLabelValues("full_disk")) > 1
		})
		if got := n.files()["10-x.conflist"]; got != text {
			t.Errorf("%s full: changed to %s", full, got)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
			t.Errorf("%s full: left %v", full, left)
		}
		must(0, os.Remove(fill))(t)
		n.eventually("there is room", func() bool { return n.inForce("10-x.conflist") && in.Ready() == nil })
		stop()
		n.removed(map[string]string{"10-x.conflist": text})
	}
}

// A file that somebody has open for writing is not touched.
func TestBusy(t *testing.T) {
	n := newNode(t)
	n.place("10-x.conflist", flannel)
	f := must(os.OpenFile(n.path("10-x.conflist"), os.O_WRONLY, 0))(t)
	defer f.Close()
	edit := func(text []byte) ([]byte, error) { return chain(text, entry) }
	if changed, err := replace(n.path("10-x.conflist"), edit); changed || !errors.Is(err, errBusy) {
		t.Errorf("%v %v", changed, err)
	}
	if files := n.files(); len(files) != 1 || files["10-x.conflist"] != flannel {
		t.Errorf("%q", files)
	}
	f.Close()
	if changed, err := replace(n.path("10-x.conflist"), edit); !changed || err != nil {
		t.Errorf("%v %v", changed, err)
	}
}

// Changes that are undone at once are repeated after longer and longer pauses; one now and then is not.
func TestPause(t *testing.T) {
	p, now := pause{max: time.Second}, time.Now()
	before := time.Duration(0)
	for i := range 20 {
		got := p.after(true, now.Add(time.Duration(i)*time.Millisecond))
		if got > time.Second || got <= before && got < time.Second {
			t.Errorf("pause %d is %v, after %v", i, got, before)
		}
		before = got
	}
	if before != time.Second {
		t.Errorf("longest pause %v", before)
	}
	if got := p.after(false, now); got != burst {
		t.Errorf("nothing changed: %v", got)
	}
	if got := p.after(true, now.Add(time.Hour)); got != 2*burst {
		t.Errorf("an hour later: %v", got)
	}
}
