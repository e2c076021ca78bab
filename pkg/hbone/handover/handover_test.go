package handover

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// world is a predecessor, perhaps a successor, and the far end of the stream that they have between them.
type world struct {
	t    *testing.T
	dir  string
	mu   sync.Mutex // protects what follows
	who  []byte     // who wrote the numbers 1, 2, ...
	over bool       // the stream has ended
	bad  string
}

type child struct {
	w     *world
	cmd   *exec.Cmd
	lines []string // under w.mu
}

// newWorld starts a predecessor that writes.
func newWorld(t *testing.T, env ...string) (*world, *child) {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "d")}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
	p := w.child("give", far, env...)
	far.Close()
	go w.read(near)
	w.until("the predecessor serves", func() bool {
		_, err := os.Stat(filepath.Join(w.dir, SocketName))
		return err == nil && len(w.who) > 0
	})
	return w, p
}

// read checks that each number comes once, in order.
func (w *world) read(f *os.File) {
	defer f.Close()
	var b [9]byte
	for {
		_, err := io.ReadFull(f, b[:])
		w.mu.Lock()
		if err != nil {
			w.over = true
		} else if n := binary.BigEndian.Uint64(b[1:]); n != uint64(len(w.who)+1) && w.bad == "" {
			w.bad = fmt.Sprintf("%c wrote %d after %d", b[0], n, len(w.who))
		}
		w.who = append(w.who, b[0])
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (w *world) child(as string, stream *os.File, env ...string) *child {
	w.t.Helper()
	c := &child{w: w, cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(append(os.Environ(), role+"="+as, "WEFT_TEST_DIR="+w.dir), env...)
	c.cmd.Stderr = os.Stderr
	if stream != nil {
		c.cmd.ExtraFiles = []*os.File{stream}
	}
	in, err := c.cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			w.mu.Lock()
			c.lines = append(c.lines, s.Text())
			w.mu.Unlock()
		}
	}()
	w.t.Cleanup(func() {
		in.Close()
		_ = c.cmd.Process.Kill()
		<-read
		_ = c.cmd.Wait()
	})
	return c
}

// until waits for a condition, looked at under w.mu.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(time.Minute)
	w.mu.Lock()
	defer w.mu.Unlock()
	for !ok() {
		if time.Now().After(deadline) {
			w.t.Fatalf("not within a minute: %s; %d numbers, stream over: %v", what, len(w.who), w.over)
		}
		w.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
		w.mu.Lock()
	}
	if w.bad != "" {
		w.t.Fatal(w.bad)
	}
}

// says waits for a line.
func (c *child) says(prefix string) {
	c.w.t.Helper()
	c.w.until(c.cmd.Env[len(c.cmd.Env)-1]+" says "+prefix, func() bool { return c.said(prefix) })
}

// output is all that it has said.
func (c *child) output() string {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	return strings.Join(c.lines, "\n")
}

func (c *child) said(prefix string) bool {
	for _, l := range c.lines {
		if strings.HasPrefix(l, prefix) {
			return true
		}
	}
	return false
}

// owner waits until one of 'p' and 's' has written 20 numbers more, and nobody else any; or, with 0, for the end
// of the stream.
func (w *world) owner(who byte) {
	w.t.Helper()
	if who == 0 {
		w.until("the stream is over", func() bool { return w.over })
		return
	}
	w.until(fmt.Sprintf("%c writes", who), func() bool {
		if len(w.who) < 20 || w.over {
			return false
		}
		for _, x := range w.who[len(w.who)-20:] {
			if x != who {
				return false
			}
		}
		return true
	})
	w.mu.Lock()
	at := len(w.who)
	w.mu.Unlock()
	w.until("20 numbers more", func() bool { return len(w.who) >= at+20 })
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.who[at:] {
		if x != who {
			w.t.Fatalf("%c writes, not only %c", x, who)
		}
	}
}

func TestHandOver(t *testing.T) {
	w, p := newWorld(t)
	w.owner('p')
	s := w.child("take", nil)
	s.says("runs")
	p.says("given")
	w.owner('s')
	if p.output() != "dropped\ngiven" {
		t.Errorf("the predecessor: %q", p.output())
	}
}

// Whatever dies or stops, and wherever: no number is written twice and none is lost, there is one owner or, once
// the owner is dead, none, and up to the successor's taking the token it is the predecessor.
func TestDeathAndStop(t *testing.T) {
	for _, c := range []struct {
		side, step string
		// Who writes after it was killed, while it is stopped (0: nobody can), and after it was continued.
		killed, stopped, continued byte
	}{
		{"take", "hello", 'p', 'p', 'p'},
		{"take", "token", 'p', 'p', 'p'},
		{"take", "state", 'p', 'p', 'p'},
		{"take", "descriptors", 'p', 'p', 'p'},
		{"take", "prepare", 'p', 'p', 'p'},
		{"take", "take", 'p', 'p', 'p'},
		{"take", "taken", 0, 0, 's'},
		{"take", "run", 0, 0, 's'},
		{"take", "running", 0, 0, 's'},
		{"give", "welcome", 0, 0, 'p'},
		{"give", "freeze", 0, 0, 'p'},
		{"give", "parcel", 0, 0, 'p'},
		{"give", "descriptors", 0, 0, 'p'},
		{"give", "ready", 's', 's', 's'},
		{"give", "token", 's', 's', 's'},
		{"give", "drop", 's', 's', 's'},
		{"give", "go", 's', 's', 's'},
		{"give", "running", 's', 's', 's'},
	} {
		t.Run("kill/"+c.side+"/"+c.step, func(t *testing.T) {
			t.Parallel()
			w, p, s, _ := meet(t, c.side, c.step, "kill")
			w.owner(c.killed)
			switch {
			case c.killed == 'p':
				p.says("kept")
			case c.killed == 's':
				s.says("runs")
			case c.side == "take":
				p.says("lost")
			default:
				s.says("fresh")
			}
		})
		t.Run("stop/"+c.side+"/"+c.step, func(t *testing.T) {
			t.Parallel()
			w, p, s, it := meet(t, c.side, c.step, "stop")
			switch {
			case c.stopped == 'p':
				p.says("kept")
				w.owner('p')
			case c.stopped == 's':
				w.owner('s')
			case c.side == "take":
				p.says("lost")
			default:
				s.says("fresh")
			}
			if err := it.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			w.owner(c.continued)
			if c.continued == 'p' {
				s.says("fresh") // and writes nothing even when it wakes up
				p.says("kept")
			} else {
				s.says("runs")
				p.says("dropped")
			}
			w.owner(c.continued)
		})
	}
}

// meet brings both together, of whom one kills or stops itself, and waits for that.
func meet(t *testing.T, side, step, act string) (w *world, p, s, it *child) {
	t.Helper()
	env := []string{"WEFT_TEST_STEP=" + step, "WEFT_TEST_ACT=" + act}
	if side == "give" {
		w, p = newWorld(t, env...)
		w.owner('p')
		s = w.child("take", nil)
		it = p
	} else {
		w, p = newWorld(t)
		w.owner('p')
		s = w.child("take", nil, env...)
		it = s
	}
	it.says("at " + step)
	return w, p, s, it
}

// What is refused changes nothing, and the next one is served.
func TestRefusals(t *testing.T) {
	for act, why := range map[string]string{"version": "version", "refuse": "cannot read this state"} {
		t.Run(act, func(t *testing.T) {
			w, p := newWorld(t)
			s := w.child("take", nil, "WEFT_TEST_ACT="+act)
			s.says("fresh: ")
			p.says("kept: ")
			w.owner('p')
			for _, c := range []*child{p, s} {
				if !strings.Contains(c.output(), why) {
					t.Errorf("does not say why: %q", c.output())
				}
			}
			if strings.Contains(p.output(), "still there") {
				t.Error("the state was not wiped")
			}
			w.child("take", nil).says("runs")
			w.owner('s')
		})
	}
}

func TestOneSuccessorAtATime(t *testing.T) {
	w, p := newWorld(t)
	first := w.child("take", nil, "WEFT_TEST_STEP=prepare", "WEFT_TEST_ACT=stop")
	first.says("at prepare")
	second := w.child("take", nil)
	second.says("fresh: the hand-over was refused: the other side says: another successor")
	p.says("kept") // the first took too long
	w.child("take", nil).says("runs")
	w.owner('s')
}

// Another user is refused even if a folder's mode lets it in.
func TestStrangersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root")
		}
		t.Skip("needs root, to become somebody else")
	}
	w, p := newWorld(t)
	exe := filepath.Join(t.TempDir(), "stranger")
	b, err := os.ReadFile(os.Args[0])
	if err := errors.Join(err, os.WriteFile(exe, b, 0o755), os.Chmod(w.dir, 0o755), os.Chmod(filepath.Join(w.dir, SocketName), 0o666)); err != nil {
		t.Fatal(err)
	}
	for d := w.dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for d := filepath.Dir(exe); d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), role+"=stranger", "WEFT_TEST_DIR="+w.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "is of user 65534") {
		t.Errorf("%v: %s", err, out)
	}
	p.says("kept: the hand-over was refused")
	w.owner('p')
	// And a successor does not go where others could have put the socket.
	s := w.child("take", nil)
	s.says("fresh: the hand-over was refused: " + w.dir + " is not a folder of this user alone")
}

func TestCgroups(t *testing.T) {
	own, err := cgroupOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := sameCgroup(Peer{Cgroup: own}); err != nil {
		t.Error(err)
	}
	if err := sameCgroup(Peer{Cgroup: own + "/other"}); err == nil || !strings.Contains(err.Error(), own+"/other") {
		t.Errorf("another cgroup: %v", err)
	}
}

// A process that has connected and ended is nobody, whoever has its number now; before it was judged and meanwhile.
func TestPeerEnds(t *testing.T) {
	dir := private(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, before := range []bool{true, false} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), role+"=caller", "WEFT_TEST_DIR="+dir)
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		ends := func() {
			in.Close()
			_ = cmd.Wait()
		}
		if before {
			ends()
		}
		err = peerOf(c, Options{Allow: func(Peer) error {
			if before {
				t.Error("a dead process is judged")
			}
			ends()
			return nil
		}})
		if err == nil || !strings.Contains(err.Error(), "it has ended") {
			t.Errorf("ended before %v: %v", before, err)
		}
		c.Close()
	}
}

func TestNobody(t *testing.T) {
	for _, dir := range []string{filepath.Join(t.TempDir(), "none"), private(t)} {
		if err := Take(t.Context(), Options{Dir: dir, Version: testVersion}, nil); !errors.Is(err, ErrNobody) {
			t.Error(err)
		}
	}
}

func private(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// One read takes it, however many try at once.
func TestToken(t *testing.T) {
	fd, err := newToken()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 64 {
		wg.Go(func() {
			if takeToken(fd) {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	if wg.Wait(); taken != 1 {
		t.Errorf("taken %d times", taken)
	}
	if takeToken(-1) {
		t.Error("took what is none")
	}
}
