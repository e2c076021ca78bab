package install

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/cni"
)

const (
	flannel = "{\n  \"name\": \"cbr0\",\n  \"plugins\": [\n    {\"type\": \"flannel\", \"z\": 1, \"a\": 2}\n  ]\n}\n"
	calico  = `{"name":"k8s-pod-network","plugins":[{"type":"calico"},{"type":"portmap"}]}`
	multus  = `{"type":"multus", "name":"multus-cni-network", "cniVersion":"0.3.1"}`
)

// node is a node's folders.
type node struct {
	t *testing.T
	o Options
	m *Metrics
}

func newNode(t *testing.T) *node {
	dir := t.TempDir()
	n := &node{t: t, m: NewMetrics(prometheus.NewRegistry())}
	n.o = Options{ConfDir: filepath.Join(dir, "net.d"), BinDir: filepath.Join(dir, "bin"), Plugin: filepath.Join(dir, "plugin"),
		Resync: 50 * time.Millisecond, MaxPause: 100 * time.Millisecond, Metrics: n.m}
	for _, d := range []string{n.o.ConfDir, n.o.BinDir} {
		must(0, os.Mkdir(d, 0o755))(t)
	}
	must(0, os.WriteFile(n.o.Plugin, bytes.Repeat([]byte("plugin "), 1000), 0o600))(t)
	return n
}

func (n *node) installer() *Installer { n.t.Helper(); return must(New(n.o))(n.t) }

// run starts an Installer until the returned function is called.
func (n *node) run() (in *Installer, stop func()) {
	n.t.Helper()
	in = n.installer()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	}
	n.t.Cleanup(stop)
	return in, stop
}

func (n *node) path(name string) string { return filepath.Join(n.o.ConfDir, name) }

// place puts a file there as careful installers do, truncate as careless ones do.
func (n *node) place(name, text string) {
	n.t.Helper()
	tmp := n.path("foreign-tmp")
	must(0, os.WriteFile(tmp, []byte(text), 0o640))(n.t)
	must(0, os.Rename(tmp, n.path(name)))(n.t)
}

func (n *node) truncate(name, text string) {
	n.t.Helper()
	must(0, os.WriteFile(n.path(name), []byte(text), 0o640))(n.t)
}

func (n *node) eventually(what string, ok func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			n.t.Fatalf("not in time: %s\n%v", what, n.files())
		}
	}
}

// files are all that is in the configuration folder.
func (n *node) files() map[string]string {
	n.t.Helper()
	out := map[string]string{}
	for _, e := range must(os.ReadDir(n.o.ConfDir))(n.t) {
		b, err := os.ReadFile(n.path(e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		out[e.Name()] = string(must(b, err)(n.t))
	}
	return out
}

// inForce tells whether the first file is the named one and has our entry, and no other has it.
func (n *node) inForce(name string) bool {
	n.t.Helper()
	files := n.files()
	first := ""
	for _, f := range slices.Sorted(maps.Keys(files)) {
		has := strings.Contains(files[f], `"weft-cni"`)
		switch {
		case isConf(f) && first == "":
			if first = f; !has || !chained([]byte(files[f])) {
				return false
			}
		case has:
			return false
		}
	}
	return first == name
}

func (n *node) removed(want map[string]string) {
	n.t.Helper()
	if err := Remove(n.o.ConfDir, n.o.BinDir, filepath.Join(n.o.BinDir, "cni.sock")); err != nil {
		n.t.Error(err)
	}
	if got := n.files(); !maps.Equal(got, want) {
		n.t.Errorf("left behind:\n%q\nwant:\n%q", got, want)
	}
	if left := must(os.ReadDir(n.o.BinDir))(n.t); len(left) > 0 {
		n.t.Errorf("left behind: %v", left)
	}
}

func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	must(0, m.Write(&d))(t)
	return d.GetGauge().GetValue() + d.GetCounter().GetValue()
}

func TestLife(t *testing.T) {
	n := newNode(t)
	in, stop := n.run()
	n.eventually("waits", func() bool { return errors.Is(in.Ready(), ErrNone) })
	n.place("10-flannel.conflist", flannel)
	n.eventually("chained", func() bool { return n.inForce("10-flannel.conflist") && in.Ready() == nil })
	if fi := must(os.Stat(n.path("10-flannel.conflist")))(t); fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v", fi.Mode())
	}
	want, got := must(os.ReadFile(n.o.Plugin))(t), must(os.ReadFile(filepath.Join(n.o.BinDir, cni.PluginName)))(t)
	if !bytes.Equal(want, got) {
		t.Error("the binary is another")
	}

	n.place("10-flannel.conflist", flannel+"\n")
	n.eventually("replaced", func() bool { return n.inForce("10-flannel.conflist") })
	n.truncate("10-flannel.conflist", flannel)
	n.eventually("rewritten", func() bool { return n.inForce("10-flannel.conflist") })
	n.place("05-calico.conflist", calico)
	n.eventually("another comes first", func() bool { return n.inForce("05-calico.conflist") })
	n.place("00-multus.conf", strings.Replace(multus, "0.3.1", "1.0.0", 1))
	n.eventually("one that is no list", func() bool { return n.inForce("00-multus.by-weft.conflist") })
	n.truncate("00-multus.conf", multus)
	n.eventually("written anew", func() bool {
		return n.inForce("00-multus.by-weft.conflist") && strings.Contains(n.files()["00-multus.by-weft.conflist"], "0.3.1")
	})
	n.place("zz.json", `{"type":"x","name":"y"}`)
	must(0, os.Remove(filepath.Join(n.o.BinDir, cni.PluginName)))(t)
	n.eventually("the binary is there again", func() bool {
		_, err := os.Stat(filepath.Join(n.o.BinDir, cni.PluginName))
		return err == nil
	})
	// Another installer moves files aside, which it may bring back when we are gone.
	must(0, os.Rename(n.path("00-multus.conf"), n.path("00-multus.conf.bak")))(t)
	n.eventually("gone", func() bool { return n.inForce("05-calico.conflist") })
	must(0, os.Rename(n.path("05-calico.conflist"), n.path("05-calico.conflist.bak")))(t)
	n.eventually("moved aside", func() bool { return n.inForce("10-flannel.conflist") })
	n.eventually("ready", func() bool { return in.Ready() == nil })
	stop()
	if v := value(t, n.m.ready); v != 1 {
		t.Errorf("weft_cni_installed %v", v)
	}
	n.removed(map[string]string{"10-flannel.conflist": flannel, "05-calico.conflist.bak": calico, "00-multus.conf.bak": multus,
		"zz.json": `{"type":"x","name":"y"}`})
	n.removed(n.files()) // again
}

func TestMalformedFileIsLeftAlone(t *testing.T) {
	n := newNode(t)
	n.place("10-a.conflist", `{"name":"a","plugins":[{"type":"ptp"},]}`)
	n.place("20-b.conflist", flannel)
	in, stop := n.run()
	n.eventually("reported", func() bool {
		return errors.Is(in.Ready(), errMalformed) && strings.Contains(in.Ready().Error(), "10-a.conflist")
	})
	if !chained([]byte(n.files()["20-b.conflist"])) {
		t.Error("runtimes that go on to the next file start pods uncaptured")
	}
	if v := value(t, n.m.failures.WithLabelValues("malformed")); v == 0 {
		t.Error("not counted")
	}
	n.truncate("10-a.conflist", `{"name":"a","plugins":[{"type":"ptp"}]}`)
	n.eventually("mended", func() bool { return n.inForce("10-a.conflist") && in.Ready() == nil })
	stop()
	n.removed(map[string]string{"10-a.conflist": `{"name":"a","plugins":[{"type":"ptp"}]}`, "20-b.conflist": flannel})

	// While a broken file names the binary, the binary stays.
	n.place("10-a.conflist", `{"name":"a","plugins":[{"type":"weft-cni"},]}`)
	must(0, os.WriteFile(filepath.Join(n.o.BinDir, cni.PluginName), nil, 0o755))(t)
	if err := Remove(n.o.ConfDir, n.o.BinDir, filepath.Join(n.o.BinDir, "s")); err == nil || !strings.Contains(err.Error(), "10-a.conflist") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(n.o.BinDir, cni.PluginName)); err != nil {
		t.Error(err)
	}
}

func TestLink(t *testing.T) {
	n := newNode(t)
	target := filepath.Join(t.TempDir(), "store.conflist")
	must(0, os.WriteFile(target, []byte(flannel), 0o644))(t)
	must(0, os.Symlink(target, n.path("10-x.conflist")))(t)
	in := n.installer()
	for range 2 {
		if _, err := in.round(); err != nil {
			t.Fatal(err)
		}
		if !n.inForce("10-x.by-weft.conflist") {
			t.Fatal(n.files())
		}
	}
	n.removed(map[string]string{"10-x.conflist": flannel})
	if to, err := os.Readlink(n.path("10-x.conflist")); err != nil || to != target {
		t.Error(to, err)
	}
	if b := must(os.ReadFile(target))(t); string(b) != flannel {
		t.Errorf("what the link leads to was written: %s", b)
	}
}

// What others chain behind us stays there, and when we go; only in a list that we have made they have to do it again.
func TestOthersChainThemselves(t *testing.T) {
	n := newNode(t)
	n.place("10-x.conflist", flannel)
	in := n.installer()
	round := func(want bool) {
		t.Helper()
		if changed, err := in.round(); err != nil || changed != want {
			t.Fatal(changed, err, n.files())
		}
	}
	round(true)
	other := func(text string) string {
		return strings.Replace(text, string(in.entry), string(in.entry)+`,{"type":"other"}`, 1)
	}
	n.place("10-x.conflist", other(n.files()["10-x.conflist"]))
	round(false)
	n.place("05-x.conf", multus)
	round(true)
	n.place("05-x.by-weft.conflist", other(n.files()["05-x.by-weft.conflist"]))
	round(false)
	n.removed(map[string]string{"05-x.conf": multus, "10-x.conflist": strings.Replace(flannel, "\"a\": 2}", "\"a\": 2},{\"type\":\"other\"}", 1)})
}

// Multus copies the list of the network before it, with us in it, into its own file.
func TestMultusCopiesUs(t *testing.T) {
	n := newNode(t)
	n.place("10-x.conflist", calico)
	in := n.installer()
	must(in.round())(t)
	copied := func(list string) string {
		return `{"name":"m","type":"multus","delegates":[ ` + list + ` ,{"name":"b","plugins":"odd"}]}`
	}
	n.place("00-multus.conf", copied(n.files()["10-x.conflist"]))
	must(in.round())(t)
	n.removed(map[string]string{"10-x.conflist": calico, "00-multus.conf": copied(calico)})
}

// Whatever a former agent was at when it died is finished or undone.
func TestHalfDone(t *testing.T) {
	n := newNode(t)
	n.place("10-y.conf", multus)
	n.place("20-z.conflist", string(must(chain([]byte(flannel), []byte(`{"type":"weft-cni","socket":"/another"}`)))(t)))
	n.place("11-gone.by-weft.conflist", string(must(chain([]byte(flannel), entry))(t)))
	n.place(".10-x.conflist.weft-tmp", "{ half")
	n.place(".10-x.conflist.weft-tmp2", string(must(chain([]byte(flannel), entry))(t)))
	must(0, os.WriteFile(filepath.Join(n.o.BinDir, ".weft-cni.weft-tmp"), nil, 0o600))(t)
	in, stop := n.run()
	n.eventually("in order", func() bool { return n.inForce("10-y.by-weft.conflist") && in.Ready() == nil })
	stop()
	n.removed(map[string]string{"10-y.conf": multus, "20-z.conflist": flannel})
}

func TestNoPlugin(t *testing.T) {
	n := newNode(t)
	n.o.Plugin += "-of-another-name"
	if _, err := New(n.o); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "--cni-plugin") {
		t.Error(err)
	}
}

// A folder that is not there yet, or goes, is waited for.
func TestNoFolder(t *testing.T) {
	n := newNode(t)
	must(0, os.Remove(n.o.ConfDir))(t)
	in, stop := n.run()
	n.eventually("reported", func() bool { return errors.Is(in.Ready(), os.ErrNotExist) })
	must(0, os.Mkdir(n.o.ConfDir, 0o755))(t)
	n.place("10-flannel.conflist", flannel)
	n.eventually("chained", func() bool { return n.inForce("10-flannel.conflist") && in.Ready() == nil })
	must(0, os.RemoveAll(n.o.ConfDir))(t)
	n.eventually("reported", func() bool { return errors.Is(in.Ready(), os.ErrNotExist) })
	must(0, os.Mkdir(n.o.ConfDir, 0o755))(t)
	n.place("10-flannel.conflist", flannel)
	n.eventually("chained", func() bool { return n.inForce("10-flannel.conflist") && in.Ready() == nil })
	stop()
	n.removed(map[string]string{"10-flannel.conflist": flannel})
}

// Without inotify, which others may have used up, the folder is looked at all the same.
func TestNoInotify(t *testing.T) {
	n := newNode(t)
	n.o.Resync = time.Hour
	n.o.Watcher = func() (*fsnotify.Watcher, error) {
		return nil, unix.EMFILE
	}
	in, stop := n.run()
	n.place("10-flannel.conflist", flannel)
	n.eventually("chained", func() bool { return n.inForce("10-flannel.conflist") && in.Ready() == nil })
	n.place("10-flannel.conflist", calico)
	n.eventually("replaced", func() bool { return n.inForce("10-flannel.conflist") })
	stop()
	n.removed(map[string]string{"10-flannel.conflist": calico})
}
