package bpf

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// inCgroup runs a shell command in a cgroup, with new namespaces.
func inCgroup(t *testing.T, cgroup string, flags uintptr, command string) int {
	t.Helper()
	must(t, os.MkdirAll(cgroup, 0o755))
	dir, err := os.Open(cgroup)
	must(t, err)
	defer dir.Close()
	cmd := exec.Command("sh", "-c", command+" && echo ready && exec sleep 600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		eventually(t, cgroup+" removed", func() bool { return os.Remove(cgroup) == nil })
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	return cmd.Process.Pid
}

// A node whose processes have a cgroup namespace of their own, as in a container or in a cluster on one
// machine, read by an agent that is outside of it.
func TestHierarchyOfAnotherNamespace(t *testing.T) {
	privileged(t)
	root, err := CgroupRoot()
	must(t, err)
	own, err := os.Readlink("/proc/self/ns/cgroup")
	must(t, err)
	for _, c := range []struct{ name, command, prefix string }{
		{"mounted", "mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup", ""},
		{"not", "true", fmt.Sprintf("/wft-node-not-%d", os.Getpid())}, // paths are the machine's then, as the mount is
	} {
		t.Run(c.name, func(t *testing.T) {
			node := filepath.Join(root, fmt.Sprintf("wft-node-%s-%d", c.name, os.Getpid()))
			init := inCgroup(t, node, syscall.CLONE_NEWCGROUP|syscall.CLONE_NEWNS, c.command)
			in := inCgroup(t, filepath.Join(node, "kubepods"), 0, "true")
			outside := inCgroup(t, node+"-other", 0, "true")
			h, err := OpenHierarchy(init)
			must(t, err)
			defer h.Close()
			want, err := CgroupID(filepath.Join(node, "kubepods"))
			must(t, err)
			if rel, id, err := h.Of(in); err != nil || rel != c.prefix+"/kubepods" || id != want {
				t.Errorf("%s %d %v, want %s/kubepods %d", rel, id, err, c.prefix, want)
			}
			if rel, _, err := h.Of(outside); c.prefix == "" && (err == nil || !strings.HasPrefix(rel, "/..")) {
				t.Errorf("a process outside of the node: %s, %v", rel, err)
			}
			if now, _ := os.Readlink("/proc/self/ns/cgroup"); now != own {
				t.Errorf("left in %s, was in %s", now, own)
			}
		})
	}
	if _, err := OpenHierarchy(1 << 22); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}

func TestHierarchyOfOwnNamespace(t *testing.T) {
	privileged(t)
	h, err := OpenHierarchy(os.Getpid())
	must(t, err)
	defer h.Close()
	root, err := CgroupRoot()
	must(t, err)
	want, wantID, err := CgroupOf(root, os.Getpid())
	must(t, err)
	rel, id, err := h.Of(os.Getpid())
	if err != nil || filepath.Join(root, rel) != want || id != wantID {
		t.Errorf("%s %d %v, want %s %d", rel, id, err, want, wantID)
	}
	a, _ := CgroupID(h.Root())
	if b, _ := CgroupID(root); a != b || a == 0 {
		t.Errorf("root is %d, want %d", a, b)
	}
}
