package delivery

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/examples"
	"github.com/weftmesh/weft/pkg/lab"
)

const labName = "wftchange"

// TestChanges makes changes one after the other, each as soon as the one before is in force, and wants every
// request of the whole time answered.
func TestChanges(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI has to run this as root")
		}
		t.Skip("raises a lab: needs root")
	}
	count := 60
	if s := os.Getenv("CHANGES"); s != "" {
		n, err := strconv.Atoi(s)
		must(t, err)
		count = n
	}
	m := raise(t)
	load := m.startLoad(t.Context(), [][]string{{"-c", "2", "-every", "10ms"}, {"-c", "2", "-every", "20ms", "-fresh"}})
	var took []time.Duration
	for n := range count {
		d := m.apply(t, nth(n), nth(n+1))
		took = append(took, d)
		if (n+1)%50 == 0 {
			t.Logf("%d changes, %d requests, %d failed", n+1, load.requests(), load.failed())
		}
	}
	load.stop()
	slices.Sort(took)
	t.Logf("%d changes under load: %d requests, %d failed; from saving the file to being seen from outside: p50 %s, p99 %s",
		count, load.requests(), load.failed(), took[len(took)/2].Round(time.Millisecond), took[len(took)*99/100].Round(time.Millisecond))
	if load.requests() < count {
		t.Errorf("only %d requests were made", load.requests())
	}
	for _, f := range load.failures() {
		t.Error(f)
	}
}

// mesh is the lab with the shop in it.
type mesh struct {
	bin, manifests string
	seen           chan string // the numbers of changes, as they are seen
	end            func()      // of the watch
}

func raise(t *testing.T) *mesh {
	m := &mesh{bin: build(t), manifests: t.TempDir()}
	for _, dir := range []string{"shop", "steps/5-waypoint"} {
		files, err := fs.Glob(examples.Files, dir+"/*.yaml")
		must(t, err)
		for _, f := range files {
			data, err := fs.ReadFile(examples.Files, f)
			must(t, err)
			m.save(t, filepath.Base(f), string(data))
		}
	}
	m.save(t, "cart-route.yaml", change{number: -1}.route())
	t.Cleanup(func() {
		if err := lab.Down(lab.Layout{Name: labName, Nodes: 2}); err != nil {
			t.Error(err)
		}
	})
	out, err := m.weftctl(t.Context(), "lab", "up", "--name", labName, "-f", m.manifests, "--bin", m.bin, "--envoy", os.Getenv("WEFT_ENVOY"), "--timeout", "3m").CombinedOutput()
	if err != nil {
		t.Fatalf("raise the lab: %v\n%s", err, out)
	}
	m.watch(t)
	t.Cleanup(m.end)
	m.until(t, "-1", "the route to be in force")
	return m
}

// build makes the programs, for the tests' own sake.
func build(t *testing.T) string {
	if bin := os.Getenv("WEFT_BIN"); bin != "" {
		return bin
	}
	bin := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "./cmd/...")
	cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, text)
	}
	for _, app := range []string{"cart", "catalog", "client", "frontend", "payments"} {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "shop-"+app), "./examples/shop/apps/"+app)
		cmd.Dir, cmd.Env = "../..", append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build: %v\n%s", err, text)
		}
	}
	return bin
}

// apply makes a change and waits until it is in force. What the next change needs is made before, and what the one
// before needed is removed after, as a person would who delivers with care.
func (m *mesh) apply(t *testing.T, c, next change) time.Duration {
	t.Helper()
	if c.extra != "" {
		m.save(t, "extra.yaml", c.service())
	}
	use := "shop"
	if c.outside {
		use = "none"
	}
	start := time.Now()
	m.save(t, "cart-route.yaml", c.route())
	m.label(t, use)
	want := strconv.Itoa(c.number)
	if c.outside {
		want = ""
	}
	m.until(t, want, fmt.Sprintf("change %d (%s) to be in force", c.number, c.what))
	took := time.Since(start)
	if c.extra == "" && next.extra == "" {
		_ = os.Remove(filepath.Join(m.manifests, "extra.yaml"))
	}
	return took
}

// label sets which waypoint the cart uses.
func (m *mesh) label(t *testing.T, waypoint string) {
	t.Helper()
	data, err := fs.ReadFile(examples.Files, "shop/cart.yaml")
	must(t, err)
	const service = "kind: Service\nmetadata:\n  name: cart\n"
	if !bytes.Contains(data, []byte(service)) {
		t.Fatalf("cart.yaml does not hold %q any more: this test has to follow", service)
	}
	text := strings.Replace(string(data), service, service+"  labels: {weft.dev/use-waypoint: "+waypoint+"}\n", 1)
	old, err := os.ReadFile(filepath.Join(m.manifests, "cart.yaml"))
	must(t, err)
	if string(old) != text {
		m.save(t, "cart.yaml", text)
	}
}

// watch follows the number of the change that answers carry. A connection that was
// made before a service came to its waypoint leads past it for as long as it lives, so each request has its own.
func (m *mesh) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := m.inPod(ctx, "shop-client", "watch", "-fresh", "-every", "5ms", "x-change", "http://cart/")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	m.seen = make(chan string, 100)
	var done sync.WaitGroup
	done.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			m.seen <- lines.Text()
		}
		close(m.seen)
	})
	m.end = func() {
		cancel()
		for range m.seen { // what was not waited for
		}
		done.Wait()
		_ = cmd.Wait()
	}
}

// until waits for answers that carry the number of a change; none where it is "".
func (m *mesh) until(t *testing.T, number, what string) {
	t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case s, ok := <-m.seen:
			switch {
			case !ok:
				t.Fatalf("the watch ended while waiting for %s", what)
			case s == number:
				return
			case strings.HasPrefix(s, "!"):
				t.Errorf("while waiting for %s: %s", what, s)
			}
		case <-late:
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

func (m *mesh) save(t *testing.T, name, text string) {
	t.Helper()
	tmp := filepath.Join(m.manifests, "."+name)
	must(t, os.WriteFile(tmp, []byte(text), 0o644))
	must(t, os.Rename(tmp, filepath.Join(m.manifests, name)))
}

func (m *mesh) weftctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(m.bin, "weftctl"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func (m *mesh) inPod(ctx context.Context, argv ...string) *exec.Cmd {
	return m.weftctl(ctx, append([]string{"lab", "exec", "--name", labName, "shop/frontend", "--"}, argv...)...)
}

// A load asks the cart all the time, in stretches of which each reports what came of it.
type load struct {
	end  context.CancelFunc
	done sync.WaitGroup

	mu  sync.Mutex // protects what follows
	n   int
	bad []string
}

func (m *mesh) startLoad(ctx context.Context, kinds [][]string) *load {
	l := &load{}
	ctx, l.end = context.WithCancel(ctx)
	for _, kind := range kinds {
		l.done.Go(func() {
			for ctx.Err() == nil {
				l.add(kind, m.inPod(context.WithoutCancel(ctx), append(append([]string{"shop-client", "load", "-duration", "5s"}, kind...), "http://cart/")...))
			}
		})
	}
	return l
}

func (l *load) add(kind []string, cmd *exec.Cmd) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var r struct {
		Requests, OK     int
		Statuses, Errors map[string]int
	}
	err = errors.Join(err, json.Unmarshal(out, &r))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n += r.Requests
	if err != nil || r.OK != r.Requests {
		l.bad = append(l.bad, fmt.Sprintf("%s, load %v: %d of %d failed: %v %v %v %s", time.Now().UTC().Format(time.TimeOnly), kind, r.Requests-r.OK, r.Requests, r.Statuses, r.Errors, err, stderr.String()))
	}
}

func (l *load) stop() {
	l.end()
	l.done.Wait()
}

func (l *load) requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func (l *load) failed() int { return len(l.failures()) }

func (l *load) failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bad)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
