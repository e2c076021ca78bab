package hbone

import (
	"bufio"
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/hbone/handover"
)

const (
	moverEnv = "HBONE_MOVER"     // first, next, refuse, die, stop
	moverDir = "HBONE_MOVER_DIR" // of the hand-over's socket
	moverApp = "HBONE_MOVER_APP" // where the application listens
)

// childTB stands in for a test in a child.
type childTB struct{ testing.TB }

func (childTB) Helper()                   {}
func (childTB) Cleanup(func())            {}
func (childTB) Fatal(a ...any)            { panic(fmt.Sprint(a...)) }
func (childTB) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (childTB) Errorf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// mover is a node in a process of its own, with both ends of its tunnels. It is handover's Giver and Taker.
type mover struct {
	*node
	e      *ends
	act    string
	frozen *Frozen
	began  time.Time
	pause  time.Duration
	fds    []int
	ready  []*Arrival
}

func (m *mover) Freeze(context.Context) (handover.Parcel, error) {
	m.began = time.Now()
	m.frozen = m.shards.Freeze()
	for try := 0; m.pool.Staying(m.frozen)+m.server.Staying(m.frozen) > 0 && try < 500; try++ {
		m.frozen.Thaw()
		time.Sleep(time.Millisecond)
		m.began = time.Now()
		m.frozen = m.shards.Freeze()
	}
	state, fds, moved, stay := m.export(childTB{}, m.frozen)
	if stay > 0 || moved == 0 {
		m.frozen.Thaw()
		return handover.Parcel{}, fmt.Errorf("%d connections could move, %d not", moved, stay)
	}
	return handover.Parcel{State: state, FDs: fds}, nil
}

func (m *mover) Thaw()      { m.frozen.Thaw() }
func (m *mover) Drop()      { m.frozen.Drop() }
func (m *mover) Done()      { m.pause = time.Since(m.began) }
func (m *mover) Lost(error) { fmt.Println("lost") }

func (m *mover) Prepare(_ context.Context, p handover.Parcel) error {
	defer clear(p.State)
	var st parcel
	err := gob.NewDecoder(bytes.NewReader(p.State)).Decode(&st)
	for _, imp := range []func() (*Arrival, error){
		func() (*Arrival, error) { return m.pool.Import(st.Pool, p.FDs, m.e.adopt(childTB{}, SpliceOptions{})) },
		func() (*Arrival, error) {
			return m.server.Import(st.Server, p.FDs, m.e.adopt(childTB{}, SpliceOptions{}))
		},
	} {
		a, failed := imp()
		err = errors.Join(err, failed)
		m.ready = append(m.ready, a)
	}
	m.fds = p.FDs
	switch m.act {
	case "refuse":
		err = errors.New("will not")
	case "die":
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	case "stop":
		on := make(chan os.Signal, 1)
		signal.Notify(on, unix.SIGCONT)
		_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
		<-on
	}
	if err != nil {
		m.Discard()
	}
	return err
}

func (m *mover) Discard() { closeFDs(m.fds) }

func (m *mover) Run() {
	for _, a := range m.ready {
		a.Run()
	}
}

// runMover is the process's main: it has the connections until a successor has, or its input ends.
func runMover() {
	underTest = "records"
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	o := handover.Options{Dir: os.Getenv(moverDir), Version: "test", Timeout: 3 * time.Second}
	m := &mover{e: &ends{}, act: os.Getenv(moverEnv)}
	s := setup{handler: toMeta(os.Getenv(moverApp), m.e)}
	w := newWorld(childTB{}, s)
	m.node = &node{shards: w.pool.env.shards, pool: w.pool, server: w.server}
	if m.act == "first" {
		l := listen(w.t)
		fmt.Println("entry", l.Addr())
		go w.entry(l, m.e)
	} else if err := handover.Take(context.Background(), o, m); err != nil {
		fmt.Println("fresh:", err)
		os.Exit(0)
	}
	fmt.Println("runs")
	if err := handover.Serve(context.Background(), o, m, func(err error) { fmt.Println("kept:", err) }); err != nil {
		fmt.Println("serve:", err)
	}
	fmt.Println("given, pause:", m.pause, "broken:", m.e.badly.Load())
	os.Exit(0)
}

// entry takes applications in.
func (w *world) entry(l net.Listener, e *ends) {
	for {
		c, err := l.Accept()
		must(w.t, err)
		w.open().Start(context.Background(), c.(*net.TCPConn), SpliceOptions{Meta: meta}, e.done)
	}
}

type moverProcess struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Reader
}

func startMover(t *testing.T, act, dir, app string) *moverProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), moverEnv+"="+act, moverDir+"="+dir, moverApp+"="+app)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Wait()
	})
	return &moverProcess{t: t, cmd: cmd, out: bufio.NewReader(out)}
}

// says waits for a line that begins so, and returns the rest.
func (p *moverProcess) says(what string) string {
	p.t.Helper()
	s, err := p.out.ReadString('\n')
	rest, ok := strings.CutPrefix(strings.TrimSpace(s), what)
	if !ok || err != nil {
		p.t.Fatalf("a process says %q (%v), want %q", s, err, what)
	}
	return strings.TrimSpace(rest)
}

// Busy connections move from process to process. Successors that refuse, die or are stopped before they have
// taken over change nothing.
func TestConnectionsMoveBetweenProcesses(t *testing.T) {
	onShards(t)
	const streams, moves = 100, 8
	app := echoApp(t)
	dir := t.TempDir() + "/d"
	at := startMover(t, "first", dir, app)
	entry := at.says("entry")
	at.says("runs")
	x := &traffic{w: &world{t: t}, stop: make(chan struct{})}
	for i := range streams {
		c, err := net.Dial("tcp", entry)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(5 * time.Minute))
		x.chatter(c.(*net.TCPConn), uint64(i), i%50 == 0)
	}
	eventually(t, "every stream is spliced", func() bool { return x.begun.Load() == streams })
	for i := range moves {
		x.more(1 << 20)
		if act := []string{"", "refuse", "die", "stop"}[i%4]; act != "" {
			p := startMover(t, act, dir, app)
			at.says("kept:")
			x.more(1 << 18)
			if act == "stop" {
				must(t, p.cmd.Process.Signal(syscall.SIGCONT))
			}
			if act != "die" {
				p.says("fresh:")
			}
		}
		next := startMover(t, "next", dir, app)
		next.says("runs")
		said := at.says("given,")
		if !strings.HasSuffix(said, "broken: 0") {
			t.Fatalf("splices broke before move %d: %s", i, said)
		}
		t.Log(said)
		at = next
	}
	x.more(1 << 20)
	x.end()
}

// What is not a state of this version and role is refused, and the descriptors stay the caller's.
func TestImportRefuses(t *testing.T) {
	w, n, s, l := moveWorld(t, nil)
	w.splice(l, SpliceOptions{})
	next := w.newNode(s, w.ca.leaf(t, serverID, time.Now().Add(time.Hour)))
	for name, spoil := range map[string]func(p *parcel){
		"version":    func(p *parcel) { p.Pool[0].Version++ },
		"engine":     func(p *parcel) { p.Pool[0].Engine.Version++ },
		"role":       func(p *parcel) { p.Pool[0] = p.Server[0] },
		"descriptor": func(p *parcel) { p.Pool[0].FD = 100 },
		"socket":     func(p *parcel) { p.Pool[0].Streams[0].FD = -1 },
		"stream":     func(p *parcel) { p.Pool[0].Streams[0].ID += 2 },
		"request":    func(p *parcel) { p.Pool[0].Requests = []RequestState{{ID: p.Pool[0].Streams[0].ID}} },
		"keys":       func(p *parcel) { p.Pool[0].Keys.Suite = 0 },
		"peer":       func(p *parcel) { p.Pool[0].Peer = nil },
		"nothing":    func(*parcel) {},
	} {
		eventually(t, "it can move", func() bool {
			f := n.shards.Freeze()
			defer f.Thaw()
			state, fds, moved, _ := n.export(t, f)
			if moved != 2 {
				return false
			}
			var p parcel
			must(t, gob.NewDecoder(bytes.NewReader(state)).Decode(&p))
			spoil(&p)
			if _, err := next.pool.Import(p.Pool, fds, nil); err == nil && name != "nothing" {
				t.Errorf("a wrong %s is imported", name)
			}
			return true
		})
	}
	w.splice(l, SpliceOptions{}) // on the same connection, which nothing has harmed
	if is := w.pool.Conns(); len(is) != 1 || is[0].Streams != 2 {
		t.Errorf("the pool has %v", is)
	}
}
