package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/bpf"
)

// kubelets are names of programs that are the kubelet, or hold it beside other things.
var kubelets = []string{"kubelet", "k3s-server", "k3s-agent", "k3s", "kubelite", "k0s"}

// kubeletFinder finds the kubelet's cgroup by the kubelet's process, and follows it through restarts.
type kubeletFinder struct {
	h    *bpf.Hierarchy
	init int // the node's first process, whose namespaces are the node's

	pid   int
	pidfd int    // of pid; -1: no kubelet is known
	rel   string // its cgroup, below the hierarchy's root
	id    uint64
}

func newKubeletFinder(h *bpf.Hierarchy, init int) *kubeletFinder {
	return &kubeletFinder{h: h, init: init, pidfd: -1}
}

// errNoKubelet: there is none, yet.
var errNoKubelet = errors.New("no kubelet runs in the host's namespaces (hostPID missing, or is it called otherwise: give --kubelet-cgroup PATH)")

// find returns the cgroup's id. It costs two system calls and one small file while the kubelet lives.
func (k *kubeletFinder) find() (uint64, error) {
	if k.pidfd >= 0 && unix.PidfdSendSignal(k.pidfd, 0, nil, 0) == nil {
		if err := k.read(); err == nil {
			return k.id, nil
		}
	}
	k.forget()
	pids, err := kubeletProcesses(k.init)
	if err != nil {
		return 0, err
	}
	err = errNoKubelet
	for _, pid := range pids {
		if k.pidfd, err = unix.PidfdOpen(pid, 0); err != nil {
			continue
		}
		k.pid = pid
		if err = k.read(); err == nil {
			return k.id, nil
		}
		k.forget()
	}
	return 0, err
}

func (k *kubeletFinder) forget() {
	if k.pidfd >= 0 {
		unix.Close(k.pidfd)
	}
	k.pid, k.pidfd, k.rel, k.id = 0, -1, "", 0
}

// read finds out where the process is now. What lives in the root can be anybody.
func (k *kubeletFinder) read() error {
	rel, id, err := k.h.Of(k.pid)
	if err != nil {
		return err
	}
	if rel == "/" || id <= 1 {
		return fmt.Errorf("the kubelet (process %d) is in the root cgroup, as every process that nobody placed: its probes cannot be told apart and fail under STRICT (run it as a service of systemd, or put it into a cgroup2 of its own)", k.pid)
	}
	k.rel, k.id = rel, id
	return nil
}

// others lists who lives in the kubelet's cgroup beside it: they may use its way in.
func (k *kubeletFinder) others() (names []string) {
	if k.rel == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(k.h.Root(), k.rel, "cgroup.procs"))
	if err != nil {
		return nil
	}
	for field := range strings.FieldsSeq(string(b)) {
		if pid, err := strconv.Atoi(field); err == nil && pid != k.pid && pid != 0 {
			names = append(names, commOf(pid))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// kubeletProcesses lists processes of that name that are the node's own: root's, in the network and PID namespaces
// of process init. A process of a pod may call itself what it likes; kubelet's own cgroup is none of a pod's.
func kubeletProcesses(init int) (pids []int, err error) {
	files, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	for _, f := range files {
		pid, err := strconv.Atoi(f.Name())
		if err == nil && slices.Contains(kubelets, commOf(pid)) && ofTheNode(pid, init) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func commOf(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(b), "\n")
}

// ofTheNode tells whether a process is root's and in process init's namespaces, and in no pod's cgroup.
func ofTheNode(pid, init int) bool {
	fi, err := os.Stat(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		return false
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
		return false
	}
	for _, ns := range []string{"pid", "net", "user"} {
		a, err1 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
		b, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", init, ns))
		if err1 != nil || err2 != nil || a != b {
			return false
		}
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && !strings.Contains(string(b), "kubepods")
}
