package cli

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

// A demo that is stopped in any way, at any time, leaves nothing behind; after SIGKILL its lab follows it, or
// whoever comes next clears up.
func TestDemoLeavesNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("the demo needs root, and CI has to have it")
		}
		t.Skip("the demo needs root: sudo go test ./pkg/cli")
	}
	weftctl := filepath.Join(buildPrograms(t), "weftctl")
	layout := lab.Layout{Name: "wdle", Nodes: 2}
	gone := func() bool { return len(lab.Leftovers(layout)) == 0 }
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(weftctl, append(args, "--name", layout.Name)...).CombinedOutput(); err != nil {
			t.Errorf("weftctl %v: %v\n%s", args, err, out)
		}
	}
	t.Cleanup(func() { run("lab", "down") })
	for _, c := range []struct {
		when   string // text that the demo prints
		signal syscall.Signal
		then   func()
	}{
		{"Raising", syscall.SIGINT, nil},
		{"ready (", syscall.SIGTERM, nil},
		{"4. Peer", syscall.SIGHUP, nil},
		{"4. Peer", syscall.SIGKILL, func() { poll(t, "the lab follows its demo", gone) }},
		{"Raising", syscall.SIGKILL, func() { run("lab", "down") }},
		{"ready (", syscall.SIGKILL, func() { run("demo", "--step", "1") }},
		{"ready (", syscall.SIGKILL, func() {
			if st, err := layout.ReadState(); err == nil {
				_ = st.Supervisor.Signal(syscall.SIGKILL)
			}
			run("demo", "--step", "1")
		}},
	} {
		stopDemo(t, exec.Command(weftctl, "demo", "--step", "4", "--name", layout.Name), c.when, c.signal)
		if c.then != nil {
			c.then()
		}
		if left := lab.Leftovers(layout); len(left) > 0 {
			t.Errorf("signal %v at %q leaves %v", c.signal, c.when, left)
		}
	}
}

// stopDemo runs a demo until it prints a text, sends it the signal and waits for its end.
func stopDemo(t *testing.T, demo *exec.Cmd, when string, signal syscall.Signal) {
	t.Helper()
	out, err := demo.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for buf := make([]byte, 4096); ; {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("the demo ended before it said %q: %s", when, said.String())
		}
		if strings.Contains(said.String(), when) {
			break
		}
	}
	if err := demo.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := demo.Wait(); err == nil {
		t.Logf("signal %v at %q came too late: the demo ended well", signal, when)
	}
}

func poll(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}
