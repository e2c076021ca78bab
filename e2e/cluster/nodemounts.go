package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one call of mount(2).
type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", m.kind+m.source, m.target, err)
	}
	return nil
}

// mountNode gives the node a view of its own: its cgroups as roots, its own bpffs, /run and disk. What other clusters
// and programs have mounted is let go, lest the node keep it alive.
func mountNode(spec nodeSpec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	v1, err := v1Hierarchies()
	if err != nil {
		return err
	}
	pure := len(v1) == 0
	if err := (mount{"proc", "/proc", "proc", 0, ""}).do(); err != nil {
		return err
	}
	if err := detach("/sys", "/run"); err != nil {
		return err
	}
	all := []mount{{"sysfs", "/sys", "sysfs", 0, ""}}
	if pure {
		all = append(all, mount{"cgroup2", "/sys/fs/cgroup", "cgroup2", 0, ""})
	} else {
		all = append(all, mount{"cgroup", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"})
		for _, h := range v1 {
			all = append(all, mount{"cgroup", "/sys/fs/cgroup/" + strings.TrimPrefix(h, "name="), "cgroup", 0, v1Data(h)})
		}
		all = append(all, mount{"cgroup2", "/sys/fs/cgroup/unified", "cgroup2", 0, ""})
	}
	all = append(all, mount{"bpf", "/sys/fs/bpf", "bpf", 0, ""}, mount{"run", "/run", "tmpfs", 0, "mode=755"})
	for _, dir := range append([]string{"/var/log"}, mountPoints...) {
		all = append(all, mount{filepath.Join(spec.Dir, "disk", dir), dir, "", unix.MS_BIND, ""})
	}
	for _, m := range all {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, optional := range []mount{{"debugfs", "/sys/kernel/debug", "debugfs", 0, ""}, {"tracefs", "/sys/kernel/tracing", "tracefs", 0, ""}} {
		_ = optional.do() // a kernel may lack them
	}
	for _, dir := range []string{"/run/lock", "/run/netns"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := hideSysctls(filepath.Join(spec.Dir, "sysctl")); err != nil {
		return err
	}
	// as systemd does: kubelet and mounts of pods with propagation want it
	return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
}

// v1Hierarchies are the controllers (or name=systemd) of every mounted v1 hierarchy, as /proc/self/cgroup lists them.
func v1Hierarchies() ([]string, error) {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, line := range strings.Fields(string(b)) {
		if parts := strings.SplitN(line, ":", 3); len(parts) == 3 && parts[0] != "0" && parts[1] != "" {
			all = append(all, parts[1])
		}
	}
	return all, nil
}

func v1Data(hierarchy string) string {
	if strings.HasPrefix(hierarchy, "name=") {
		return "none," + hierarchy
	}
	return hierarchy
}

// detach unmounts everything at or below these folders, the last mounted first.
func detach(below ...string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	var targets []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		target := strings.ReplaceAll(fields[4], `\040`, " ")
		if slices.ContainsFunc(below, func(b string) bool { return target == b || strings.HasPrefix(target, b+"/") }) {
			targets = append(targets, target)
		}
	}
	slices.Reverse(targets)
	for _, t := range targets {
		if err := unix.Unmount(t, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", t, err)
		}
	}
	return nil
}

// kubeletSysctls are settings of the whole machine that a kubelet writes unless they read as it likes.
var kubeletSysctls = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

// hideSysctls lays files with the wanted values over them.
func hideSysctls(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, value := range kubeletSysctls {
		file := filepath.Join(dir, strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(file, "/proc/sys/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("hiding sysctl %s: %w", name, err)
		}
	}
	return nil
}

// nodeSysctls are the node's own: network settings belong to its network namespace.
func nodeSysctls(dual bool) error {
	own := map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0", "net/ipv4/conf/default/rp_filter": "0"}
	if dual {
		own["net/ipv6/conf/all/forwarding"] = "1"
	}
	for name, value := range own {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl %s: %w", name, err)
		}
	}
	// without it kube-proxy misses traffic between two pods of a node; not every kernel has the module loaded
	err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0o644)
	if err != nil {
		fmt.Println("bridge-nf-call-iptables:", err)
	}
	return nil
}
