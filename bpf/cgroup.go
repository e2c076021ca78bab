package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// CgroupRoot finds where cgroup2 is mounted: /sys/fs/cgroup, or
// /sys/fs/cgroup/unified on a machine that still has version 1 beside it.
func CgroupRoot() (string, error) {
	path, _, err := cgroupMount("/proc/self/mountinfo")
	return path, err
}

// cgroupMount also tells whether it is the whole hierarchy, as seen from the calling thread's cgroup namespace.
func cgroupMount(mountinfo string) (path string, whole bool, err error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", false, fmt.Errorf("find cgroup2: %w", err)
	}
	defer f.Close()
	best := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		// id parent dev root mountpoint options… - type source superoptions
		left, right, ok := strings.Cut(s.Text(), " - ")
		fields := strings.Fields(left)
		if !ok || len(fields) < 5 || !strings.HasPrefix(right, "cgroup2 ") {
			continue
		}
		if fields[3] == "/" { // the whole hierarchy, not a part of it bound elsewhere
			return unescape(fields[4]), true, nil
		}
		if best == "" {
			best = unescape(fields[4])
		}
	}
	if best == "" {
		return "", false, errors.New("cgroup2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)")
	}
	return best, false, nil
}

// unescape undoes mountinfo's octal escapes of blanks.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// CgroupID is the id of the cgroup2 directory at path, as the kernel reports it.
func CgroupID(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, fmt.Errorf("cgroup %s: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
		return 0, fmt.Errorf("%s is not in the cgroup2 hierarchy", path)
	}
	return st.Ino, nil
}

// CgroupOf returns path and id of the cgroup2 that process pid is in. root is
// the mount point of cgroup2; "" looks it up.
func CgroupOf(root string, pid int) (path string, id uint64, err error) {
	if root == "" {
		if root, err = CgroupRoot(); err != nil {
			return "", 0, err
		}
	}
	rel, err := cgroupPath(pid)
	if err != nil {
		return "", 0, err
	}
	path = filepath.Join(root, rel)
	id, err = CgroupID(path)
	return path, id, err
}

// cgroupPath is that of a process's cgroup2, as seen from the calling thread's cgroup namespace.
func cgroupPath(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return "", fmt.Errorf("cgroup of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if rel, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return rel, nil
		}
	}
	return "", fmt.Errorf("process %d is in no cgroup2", pid)
}

// AddZtunnelCgroup lets sockets of this cgroup send TCP out of pods. A ztunnel
// has a new id after each restart of its pod: add the new one, remove the old
// one when it has drained. The root cgroup, id 1, is refused: every process that
// nobody placed is in there.
func (r *Redirector) AddZtunnelCgroup(id uint64) error {
	if id <= 1 {
		return fmt.Errorf("cgroup id %d is the root's: give the ztunnel a cgroup of its own", id)
	}
	if err := r.node.ZtunnelCgroups.Put(id, uint32(1)); err != nil {
		return fmt.Errorf("add ztunnel's cgroup %d: %w", id, err)
	}
	return nil
}

// RemoveZtunnelCgroup takes the right back at once, for open connections too.
func (r *Redirector) RemoveZtunnelCgroup(id uint64) error {
	if err := ignoreMissing(r.node.ZtunnelCgroups.Delete(id)); err != nil {
		return fmt.Errorf("remove ztunnel's cgroup %d: %w", id, err)
	}
	return nil
}

// ZtunnelCgroups lists the ids added, by predecessors too.
func (r *Redirector) ZtunnelCgroups() ([]uint64, error) { return cgroupIDs(r.node.ZtunnelCgroups) }

// SetKubeletCgroups says whose connections from the node itself are probes and
// go straight to the application. The root cgroup is refused.
func (r *Redirector) SetKubeletCgroups(ids ...uint64) error {
	keep := map[uint64]bool{}
	for _, id := range ids {
		if id <= 1 {
			return fmt.Errorf("cgroup id %d is the root's: probes can be told apart only if the kubelet has a cgroup of its own", id)
		}
		keep[id] = true
		if err := r.kube.Put(id, uint32(1)); err != nil {
			return fmt.Errorf("add kubelet's cgroup %d: %w", id, err)
		}
	}
	have, err := cgroupIDs(r.kube)
	if err != nil {
		return err
	}
	for _, id := range have {
		if keep[id] {
			continue
		}
		if err := ignoreMissing(r.kube.Delete(id)); err != nil {
			return fmt.Errorf("remove kubelet's cgroup %d: %w", id, err)
		}
	}
	return nil
}

func cgroupIDs(m *ebpf.Map) (ids []uint64, err error) {
	var id uint64
	var v uint32
	it := m.Iterate()
	for it.Next(&id, &v) {
		ids = append(ids, id)
	}
	return ids, it.Err()
}
