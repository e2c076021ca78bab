package enroll

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/zds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a node without a kernel: namespaces are files, capture is a table. The ZDS between the agent and
// its ztunnels is the real one.
type world struct {
	t      *testing.T
	dir    string
	clock  *fakeClock
	status *DirStatus

	mu       sync.Mutex
	events   []string
	spaces   map[string]uint64   // cookies of namespaces by pod key
	listens  map[uint64]*ztunnel // who listens in a namespace, by cookie; the latest to begin
	captured map[string]captured // by UID
	fail     map[string]error    // by operation: "enrol a", "announce a", "admit", …
	cgroups  map[uint64]bool     // connections admitted
	stop     func()
	r        *Reconciler
	agent    *zds.Agent
}

type captured struct {
	cookie    string
	addresses string
	listener  string // name of the ztunnel
	noDNS     bool
}

func newWorld(t *testing.T) *world {
	return &world{t: t, dir: t.TempDir(), clock: &fakeClock{now: time.Unix(1e9, 0)}, spaces: map[string]uint64{}, listens: map[uint64]*ztunnel{},
		captured: map[string]captured{}, fail: map[string]error{}, cgroups: map[uint64]bool{}}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

func (w *world) failing(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fail[what]
}

func (w *world) setFail(what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail[what] = err
}

// story returns what happened since the last call.
func (w *world) story() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.events
	w.events = nil
	return out
}

func (w *world) capturedPods() map[string]captured {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]captured{}
	for k, v := range w.captured {
		out[k] = v
	}
	return out
}

// start runs an agent. stopAgent ends it and leaves what is captured.
func (w *world) start(decisions []Decision, complete bool) {
	w.t.Helper()
	w.status = NewDirStatus(w.dir)
	w.r = New(Options{Redirector: (*table)(w), Status: (*noisyStatus)(w), Admitter: (*door)(w), Open: w.open, Workers: 4,
		Linger: time.Minute, RetryMin: time.Second, RetryMax: 4 * time.Second, Resync: time.Hour, Clock: w.clock})
	w.agent = zds.NewAgent(zds.AgentOptions{Path: w.socket(), Events: w.r.Events()})
	w.r.Set(decisions, complete)
	w.r.Prime(w.agent)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.agent.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	wg.Go(func() { w.r.Run(ctx) })
	w.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); w.agent.Close() })
	w.t.Cleanup(w.stop)
}

func (w *world) socket() string { return filepath.Join(w.dir, "zds.sock") }

// space makes a network namespace for a pod, a new one each time.
func (w *world) space(p Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spaces[p.Key()] = uint64(len(w.spaces)+1) + w.spaces[p.Key()]*100
}

func (w *world) open(p Pod) (Namespace, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	cookie, ok := w.spaces[p.Key()]
	if !ok {
		return nil, fmt.Errorf("namespace of %s: %w", p.Key(), os.ErrNotExist)
	}
	return &space{w, cookie}, nil
}

// space is a Namespace; its File tells the cookie.
type space struct {
	w      *world
	cookie uint64
}

func (s *space) Cookie() uint64 { return s.cookie }
func (s *space) Close() error   { return nil }
func (s *space) File() (*os.File, error) {
	return textFile(s.w.dir, fmt.Sprint(s.cookie))
}

func (s *space) Listeners(int) (ls bpf.Listeners, err error) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	z := s.w.listens[s.cookie]
	if z == nil {
		return ls, nil
	}
	for i := range ls {
		if bpf.Slot(i) == bpf.DNS && z.mute {
			continue
		}
		if ls[i], err = textFile(s.w.dir, z.name); err != nil {
			return ls, err
		}
	}
	return ls, nil
}

func textFile(dir, text string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".f")
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(text)
	return f, errors.Join(err, os.Remove(f.Name()))
}

func textOf(f *os.File) string {
	b := make([]byte, 64)
	n, _ := f.ReadAt(b, 0)
	return string(b[:n])
}

// table is a Redirector.
type table world

func (r *table) Enrol(p bpf.Pod) error {
	w := (*world)(r)
	if err := w.failing("enrol " + p.UID); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := captured{textOf(p.File), fmt.Sprint(p.Addresses), textOf(p.Listeners[bpf.Outbound]), p.NoDNS}
	for uid, other := range w.captured {
		if other.cookie == c.cookie && uid != p.UID {
			delete(w.captured, uid)
		}
	}
	w.captured[p.UID] = c
	w.events = append(w.events, "enrol "+p.UID+" for "+c.listener)
	return nil
}

func (r *table) SetListeners(uid string, l bpf.Listeners) error {
	w := (*world)(r)
	if err := w.failing("listeners " + uid); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c, ok := w.captured[uid]
	if !ok {
		return bpf.ErrUnknownPod
	}
	c.listener = textOf(l[bpf.Outbound])
	w.captured[uid] = c
	w.events = append(w.events, "listeners "+uid+" of "+c.listener)
	return nil
}

func (r *table) Unenrol(uid string) error {
	w := (*world)(r)
	if err := w.failing("unenrol " + uid); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.captured[uid]; !ok {
		return bpf.ErrUnknownPod
	}
	delete(w.captured, uid)
	w.events = append(w.events, "unenrol "+uid)
	return nil
}

func (r *table) Pods() (uids []string) {
	for uid := range (*world)(r).capturedPods() {
		uids = append(uids, uid)
	}
	return uids
}

// noisyStatus is the real DirStatus, with notes.
type noisyStatus world

func (s *noisyStatus) Announce(p Pod) error {
	w := (*world)(s)
	if err := w.failing("announce " + p.UID); err != nil {
		return err
	}
	err := w.status.Announce(p)
	w.note("announce %s", p.UID)
	return err
}

func (s *noisyStatus) Withdraw(uid string) error {
	w := (*world)(s)
	err := w.status.Withdraw(uid)
	w.note("withdraw %s", uid)
	return err
}

func (w *world) announced() (out []string) {
	files, _ := filepath.Glob(filepath.Join(w.dir, "pods", "*.json"))
	for _, f := range files {
		out = append(out, strings.TrimSuffix(filepath.Base(f), ".json"))
	}
	return out
}

// door is an Admitter.
type door world

func (d *door) Admit(p zds.Peer) error { return (*world)(d).failing("admit") }
func (d *door) Gone(zds.Peer)          {}

// pod makes a pod with a namespace.
func (w *world) pod(name, ip string) Pod {
	p := Pod{UID: name, Namespace: "shop", Name: name, ServiceAccount: "sa", Addresses: []netip.Addr{netip.MustParseAddr(ip)}}
	w.space(p)
	return p
}

func enrol(ps ...Pod) (ds []Decision) {
	for _, p := range ps {
		ds = append(ds, Decision{Pod: p, Verdict: Enrol, Reason: "labelled"})
	}
	return ds
}

func leave(ps ...Pod) (ds []Decision) {
	for _, p := range ps {
		ds = append(ds, Decision{Pod: p, Verdict: Leave, Reason: "not labelled"})
	}
	return ds
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("never came about: " + what)
		}
		time.Sleep(time.Millisecond)
	}
}

// settled waits until the pod with uid is in a state.
func (w *world) settled(uid, state string) View {
	w.t.Helper()
	var v View
	eventually(w.t, uid+" "+state, func() bool {
		for _, v = range w.r.Views() {
			if v.UID == uid && v.State == state && (state == StateIgnored || v.Ztunnel != 0 || v.Error != "") {
				return true
			}
		}
		return false
	})
	return v
}

// happens waits for an event, and returns all up to it.
func (w *world) happens(event string) (story []string) {
	w.t.Helper()
	eventually(w.t, event, func() bool {
		story = append(story, w.story()...)
		return slices.Contains(story, event)
	})
	return story
}

func (w *world) inOrder(story []string, want ...string) {
	w.t.Helper()
	i := 0
	for _, s := range story {
		if i < len(want) && s == want[i] {
			i++
		}
	}
	if i < len(want) {
		w.t.Errorf("got  %q\nwant %q in this order", story, want)
	}
}

// acts leaves out what a ztunnel says of the list as a whole.
func acts(story []string) []string {
	return slices.DeleteFunc(story, func(s string) bool { return strings.HasSuffix(s, "knows all") })
}
