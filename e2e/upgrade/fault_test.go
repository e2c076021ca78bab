package upgrade

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

// held is how long a process stands still that is stopped: longer than the other waits for it.
const held = 3 * time.Second

// The old or the new ztunnel is stopped for a while, or the new one killed, somewhere in an upgrade. Whatever that
// hits, no byte is wrong, and new connections are served. Only those break that a process held when it was killed,
// or that drained in the old one for as long as that may take.
func TestUpgradesThatFail(t *testing.T) {
	connections, rounds := number(t, "CONNECTIONS", 100), number(t, "FAILURES", 4)
	m := raise(t, connections)
	lost := 0 // upgrades that did not hand over
	for i := range rounds {
		for _, f := range []fault{{"stop", false}, {"stop", true}, {"kill", false}} {
			// From the start of the new process on it takes more than half a second.
			if !f.strike(m, time.Duration(rand.Int64N(int64(700*time.Millisecond)))) {
				lost++
			}
		}
		s := m.last()
		if s.Broken > int64(lost*connections) {
			t.Errorf("%d connections broke at %d upgrades that failed", s.Broken, lost)
		}
		t.Logf("round %d: %d bytes compared, %d connections broken, %d new ones failed", i+1, s.Bytes, s.Broken, s.Failed)
	}
}

// fault is what befalls one of both.
type fault struct {
	what string // stop, kill
	old  bool   // whom
}

// strike reports that all connections went on.
func (f fault) strike(m *mesh, after time.Duration) (all bool) {
	m.t.Helper()
	before := m.last()
	old := m.ztunnel("n1")
	type outcome struct {
		u   *lab.Upgraded
		err error
	}
	over := make(chan outcome, 1)
	go func() {
		u, err := lab.Upgrade(context.Background(), m.l, "n1")
		over <- outcome{u, err}
	}()
	next := m.successor(old)
	time.Sleep(after)
	pid := next
	if f.old {
		pid = old
	}
	if f.what == "kill" {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	} else {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
		time.Sleep(held)
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	o := <-over
	m.serves(before)
	all = o.err == nil && int64(o.u.Connections) >= before.Held && f.what != "kill"
	m.t.Logf("%s after %v, the old one: %v: %+v %v", f.what, after.Round(time.Millisecond), f.old, o.u, o.err)
	return all
}

// serves waits until connections move bytes and new ones are made; none may have seen a wrong byte.
func (m *mesh) serves(before stats) {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s := m.last()
		if strings.Contains(s.Why, "changed") {
			m.t.Fatal(s.Why)
		}
		if s.Churned > before.Churned+20 && s.Bytes > before.Bytes+s.Held*500 {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("nothing moves any more: %+v, before: %+v", s, before)
		}
	}
}

// last is what the caller said last, whatever has broken.
func (m *mesh) last() (s stats) {
	if all := m.lines(); len(all) > 0 {
		s = all[len(all)-1]
	}
	return s
}

// ztunnel is the process of a node.
func (m *mesh) ztunnel(node string) int {
	m.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		st, err := m.l.ReadState()
		must(m.t, err)
		if p := st.Programs["ztunnel/"+node]; p != nil && p.Alive() {
			return p.PID
		}
		if time.Now().After(deadline) {
			m.t.Fatal("no ztunnel runs on " + node)
		}
	}
}

// successor waits for the process that is to follow another one, by its cgroup.
func (m *mesh) successor(old int) int {
	m.t.Helper()
	root, err := lab.CgroupRoot()
	must(m.t, err)
	procs := filepath.Join(root, m.l.Cgroup("n1", fmt.Sprintf("ztunnel-%d", old)), "cgroup.procs")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(procs)
		if pid, bad := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && bad == nil {
			return pid
		}
		if time.Now().After(deadline) {
			m.t.Fatal("no new process starts")
		}
	}
}
