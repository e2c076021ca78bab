package zds

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually polls a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("never came about: " + what)
		}
		time.Sleep(time.Millisecond)
	}
}

// diary collects what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) addf(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lines)
}

func (d *diary) has(line string) bool { return slices.Contains(d.all(), line) }

// startAgent runs an agent until the test ends or stop is called.
func startAgent(t *testing.T, o AgentOptions, pods ...Pod) (a *Agent, d *diary, stop func()) {
	t.Helper()
	d = &diary{}
	if o.Path == "" {
		o.Path = filepath.Join(t.TempDir(), "zds.sock")
	}
	o.Events = Events{
		Connected: func(p Peer) { d.addf("connected %d", p.ID) },
		Added:     func(p Peer, pod Pod, err error) { d.addf("added %d %s %v", p.ID, pod.UID, err) },
		Synced:    func(p Peer) { d.addf("synced %d", p.ID) },
		Gone:      func(p Peer, err error) { d.addf("gone %d", p.ID) },
	}
	a = NewAgent(o)
	for _, p := range pods {
		if err := a.List(p); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		a.Close()
	})
	t.Cleanup(stop)
	eventually(t, "socket", func() bool { _, err := os.Stat(o.Path); return err == nil || len(done) > 0 })
	return a, d, stop
}

// file makes a file that stands for a network namespace; its content tells which.
func file(t *testing.T, content string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func podOf(t *testing.T, uid string) Pod {
	return Pod{UID: uid, Info: WorkloadInfo{Name: "n-" + uid, Namespace: "shop", ServiceAccount: "sa"}, Netns: file(t, uid)}
}

func content(f *os.File) string {
	b := make([]byte, 100)
	n, _ := f.ReadAt(b, 0)
	return string(b[:n])
}

// raw is a peer written by hand on system calls: it knows packets and bytes, nothing of this package.
type raw struct {
	t  *testing.T
	fd int
}

func socket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	tv := unix.NsecToTimeval(int64(10 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		t.Fatal(err)
	}
	return fd
}

func dialRaw(t *testing.T, path string) *raw {
	t.Helper()
	r := &raw{t, socket(t)}
	var err error
	eventually(t, "listening", func() bool { // between its bind and its listen the socket is there and refuses
		err = unix.Connect(r.fd, &unix.SockaddrUnix{Name: path})
		return !errors.Is(err, unix.ECONNREFUSED)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *raw) close() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}

func (r *raw) send(b string, fds ...int) {
	r.t.Helper()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(r.fd, []byte(b), oob, nil, unix.MSG_NOSIGNAL); err != nil {
		r.t.Fatal(err)
	}
}

// recv returns one packet and what the file that came with it holds. No bytes: the other end closed.
func (r *raw) recv() (msg, file string) {
	r.t.Helper()
	b, oob := make([]byte, 4096), make([]byte, 64)
	n, oobn, _, _, err := unix.Recvmsg(r.fd, b, oob, unix.MSG_CMSG_CLOEXEC)
	if errors.Is(err, unix.ECONNRESET) {
		return "", ""
	}
	if err != nil {
		r.t.Fatal(err)
	}
	files := takeFiles(oob[:oobn])
	defer closeAll(files)
	for _, f := range files {
		file += content(f)
	}
	return string(b[:n]), file
}

// field is a length-delimited protobuf field; all of these messages fit into one-byte lengths.
func field(n int, s string) string { return string([]byte{byte(n<<3 | 2), byte(len(s))}) + s }

const helloV1 = "\x08\x01" // field 1, varint 1

var (
	snapshotSent = field(3, "")
	ackOK        = field(1, "")
)

func addBytes(uid string) string {
	return field(1, field(1, uid)+field(2, field(1, "n-"+uid)+field(2, "shop")+field(3, "sa")))
}
func keepBytes(uid string) string { return field(5, field(1, uid)) }
func delBytes(uid string) string  { return field(2, field(2, uid)) }
func ackError(s string) string    { return field(1, field(1, s)) }

// listenRaw is an agent's socket without an agent.
func listenRaw(t *testing.T) (path string, accept func() *raw) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "zds.sock")
	fd := socket(t)
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 8)); err != nil {
		t.Fatal(err)
	}
	return path, func() *raw {
		t.Helper()
		c, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		tv := unix.NsecToTimeval(int64(10 * time.Second))
		if err := unix.SetsockoptTimeval(c, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			t.Fatal(err)
		}
		r := &raw{t, c}
		t.Cleanup(r.close)
		return r
	}
}

// handler notes calls; pods named bad are refused, pods named slow wait for gate.
type handler struct {
	diary
	gate chan struct{}
}

func (h *handler) Connected() { h.addf("connected") }
func (h *handler) Add(uid string, w WorkloadInfo, ns *os.File) error {
	if strings.HasPrefix(uid, "slow") {
		<-h.gate
	}
	h.addf("add %s %s/%s/%s %s", uid, w.Namespace, w.Name, w.ServiceAccount, content(ns))
	if strings.HasPrefix(uid, "bad") {
		return errors.New("no certificate for \xff" + uid)
	}
	return nil
}
func (h *handler) Keep(uid string) error {
	h.addf("keep %s", uid)
	if uid == "unknown" {
		return errors.New("never added")
	}
	return nil
}
func (h *handler) Del(uid string) { h.addf("del %s", uid) }
func (h *handler) Snapshot()      { h.addf("snapshot") }

func startProxy(t *testing.T, path string) (h *handler, stop func()) {
	t.Helper()
	h = &handler{gate: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- NewProxy(ProxyOptions{Path: path, Handler: h, RetryMax: 20 * time.Millisecond}).Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return h, stop
}
