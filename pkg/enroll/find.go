package enroll

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weftmesh/weft/pkg/netns"
)

// Finder finds the network namespaces of running pods by the cgroups of their processes: the one thing that
// kubelet names the same way whatever the container runtime, the cgroup driver and the version of cgroups.
// The agent needs the host's PID namespace.
type Finder struct {
	host uint64 // cookie of the node's own namespace

	mu      sync.Mutex           // protects what follows; held while /proc is read, so that many pods share one reading
	pids    map[string][]int     // by pod UID, oldest first
	scanned time.Time            // when the last reading began
	made    map[string]*netns.NS // of pods that have no process yet, by the object's UID
}

// NewFinder makes a Finder for the node whose network namespace this process is in.
func NewFinder() (*Finder, error) {
	ns, err := netns.Current()
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	return &Finder{host: ns.Cookie(), pids: map[string][]int{}, made: map[string]*netns.NS{}}, nil
}

// Starting tells in which namespace a pod will be that has no process yet; the Finder keeps a handle of its own
// until Started.
func (f *Finder) Starting(uid string, ns *netns.NS) error {
	file, err := ns.File()
	if err != nil {
		return err
	}
	defer file.Close()
	own, err := netns.FromFile(file)
	if err != nil {
		return err
	}
	f.Started(uid)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made[uid] = own
	return nil
}

// Started says that the pod's processes can be found, or that it is gone.
func (f *Finder) Started(uid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ns := f.made[uid]; ns != nil {
		ns.Close()
		delete(f.made, uid)
	}
}

// starting opens the namespace that Starting told.
func (f *Finder) starting(uid string) (*netns.NS, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ns := f.made[uid]
	if ns == nil {
		return nil, nil //nolint:nilnil // none is no error
	}
	file, err := ns.File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return netns.FromFile(file)
}

// errNoProcess: none of the pod's is seen.
var errNoProcess = errors.New("no process of the pod runs in a network namespace of its own (has its sandbox been made, and does the agent see the host's processes: hostPID?)")

// Open opens the namespace of a pod.
func (f *Finder) Open(p Pod) (Namespace, error) {
	uid := strings.ToLower(p.Sandbox())
	ns, err := f.starting(p.UID)
	if ns != nil || err != nil {
		return namespace{ns}, err
	}
	now := time.Now()
	f.mu.Lock()
	pids := f.pids[uid]
	f.mu.Unlock()
	if ns := f.first(uid, pids); ns != nil {
		return namespace{ns}, nil
	}
	if pids, err = f.look(uid, now); err != nil {
		return nil, err
	}
	if ns := f.first(uid, pids); ns != nil {
		return namespace{ns}, nil
	}
	return nil, fmt.Errorf("pod %s: %w", p.Key(), errNoProcess)
}

// look reads /proc, unless somebody began to after now.
func (f *Finder) look(uid string, now time.Time) ([]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.scanned.After(now) {
		began := time.Now()
		pids, err := podProcesses()
		if err != nil {
			return nil, err
		}
		f.pids, f.scanned = pids, began
	}
	return f.pids[uid], nil
}

// first takes the oldest process's namespace that is not the node's: that of the sandbox, which starts before
// all containers, and not one that an application made for itself.
func (f *Finder) first(uid string, pids []int) *netns.NS {
	for _, pid := range pids {
		ns, err := openProcess(pid, uid)
		if err != nil {
			continue
		}
		if ns.Cookie() != f.host {
			return ns
		}
		ns.Close()
	}
	return nil
}

// openProcess opens the namespace of a process while making sure that the number is not another one's by now.
func openProcess(pid int, uid string) (*netns.NS, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	defer unix.Close(pidfd)
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	if podOfProcess(pid) != uid {
		err = fmt.Errorf("process %d is not pod %s's any more", pid, uid)
	} else if e := unix.PidfdSendSignal(pidfd, 0, nil, 0); e != nil {
		err = fmt.Errorf("process %d: %w", pid, e)
	}
	if err != nil {
		ns.Close()
		return nil, err
	}
	return ns, nil
}

// podProcesses lists all processes of pods by the pods' UIDs, oldest first.
func podProcesses() (map[string][]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	type process struct {
		pid     int
		started uint64
	}
	found := map[string][]process{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if uid := podOfProcess(pid); uid != "" {
			found[uid] = append(found[uid], process{pid, started(pid)})
		}
	}
	out := make(map[string][]int, len(found))
	for _, uid := range slices.Sorted(maps.Keys(found)) {
		slices.SortFunc(found[uid], func(a, b process) int { return cmp.Or(cmp.Compare(a.started, b.started), cmp.Compare(a.pid, b.pid)) })
		for _, p := range found[uid] {
			out[uid] = append(out[uid], p.pid)
		}
	}
	return out, nil
}

// podFolder is how kubelet names a pod's cgroup: pod<uid> by the driver cgroupfs, kubepods-…-pod<uid>.slice
// with _ for - by systemd. A static pod's uid is 32 digits without dashes.
var podFolder = regexp.MustCompile(`(?:^|-)pod([0-9a-f]{8}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{4}[-_]?[0-9a-f]{12})(?:\.slice)?$`)

// podOfProcess is the UID of the pod whose cgroup a process is in; "" if none's, or gone.
func podOfProcess(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return ""
	}
	return podOfCgroups(string(b))
}

func podOfCgroups(text string) string {
	for line := range strings.Lines(text) {
		_, path, _ := strings.Cut(line, ":")
		_, path, _ = strings.Cut(strings.TrimSuffix(path, "\n"), ":")
		// The outermost: what is below is the container's own to name.
		for folder := range strings.SplitSeq(path, "/") {
			if m := podFolder.FindStringSubmatch(folder); m != nil {
				return strings.ReplaceAll(m[1], "_", "-")
			}
		}
	}
	return ""
}

// started is when a process began, in clock ticks since boot.
func started(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	const starttime = 22 - 3 // the field after the name is the third
	if len(fields) <= starttime {
		return 0
	}
	n, err := strconv.ParseUint(fields[starttime], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
