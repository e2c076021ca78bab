package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"github.com/weftmesh/weft/bpf"
)

// named runs a copy of sleep under a name, in a cgroup, with new namespaces.
func named(t *testing.T, name, cgroup string, flags uintptr) *exec.Cmd {
	t.Helper()
	sleep, err := exec.LookPath("sleep")
	must(t, err)
	program := filepath.Join(t.TempDir(), name)
	b, err := os.ReadFile(sleep)
	must(t, err)
	must(t, os.WriteFile(program, b, 0o755))
	cmd := exec.Command(program, "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: syscall.SIGKILL}
	must(t, os.MkdirAll(cgroup, 0o755))
	dir, err := os.Open(cgroup)
	must(t, err)
	defer dir.Close()
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	must(t, cmd.Start())
	t.Cleanup(func() {
		gone(cmd)
		if root, _ := bpf.CgroupRoot(); cgroup != root {
			eventually(t, cgroup+" removed", func() bool { err := os.Remove(cgroup); return err == nil || errors.Is(err, os.ErrNotExist) })
		}
	})
	return cmd
}

func gone(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// The kubelet is found by its process, and nobody else is taken for it.
func TestKubeletIsFound(t *testing.T) {
	privileged(t)
	root, err := bpf.CgroupRoot()
	must(t, err)
	former := kubelets
	kubelets = []string{"wft-kubelet"} // none that others run on this machine
	t.Cleanup(func() { kubelets = former })
	h, err := bpf.OpenHierarchy(os.Getpid())
	must(t, err)
	defer h.Close()
	cgroup := func(name string) string {
		return filepath.Join(root, fmt.Sprintf("wft-kubelet-%d-%s", os.Getpid(), name))
	}
	// Not this process: its first thread may be in a namespace that another test made.
	f := newKubeletFinder(h, named(t, "wft-init", cgroup("init"), 0).Process.Pid)
	none := func(what string) {
		t.Helper()
		if id, err := f.find(); !errors.Is(err, errNoKubelet) {
			t.Errorf("%s: %d, %v", what, id, err)
		}
	}
	none("nobody")
	named(t, "wft-kubelet", cgroup("kubepods"), 0)
	none("a process of a pod")
	named(t, "wft-kubelet", cgroup("netns"), syscall.CLONE_NEWNET)
	none("in a network namespace of its own")

	found := func(cgroup string) {
		t.Helper()
		want, err := bpf.CgroupID(cgroup)
		must(t, err)
		if id, err := f.find(); err != nil || id != want {
			t.Errorf("%d, %v, want %d", id, err, want)
		}
	}
	first := named(t, "wft-kubelet", cgroup("service"), 0)
	eventually(t, "found", func() bool { _, err := f.find(); return err == nil })
	found(cgroup("service"))
	companion := named(t, "containerd", cgroup("service"), 0)
	eventually(t, "the companion is seen", func() bool { return slices.Equal(f.others(), []string{"containerd"}) })
	gone(companion)
	// It is told once, kept while the kubelet is away, and followed.
	var told [][]uint64
	k := kubelet{auto: f, log: zap.NewNop(), set: func(ids ...uint64) error { told = append(told, ids); return nil }}
	must(t, k.refresh())
	must(t, k.refresh())
	gone(first)
	must(t, k.refresh())
	if len(told) != 1 {
		t.Errorf("told %v", told)
	}
	named(t, "wft-kubelet", cgroup("another"), 0)
	eventually(t, "followed", func() bool { must(t, k.refresh()); return len(told) == 2 })
	found(cgroup("another"))
}

func TestKubeletInTheRootCgroup(t *testing.T) {
	privileged(t)
	root, err := bpf.CgroupRoot()
	must(t, err)
	h, err := bpf.OpenHierarchy(os.Getpid())
	must(t, err)
	defer h.Close()
	f := newKubeletFinder(h, os.Getpid())
	cmd := named(t, "wft-rooted", root, 0)
	f.pid = cmd.Process.Pid
	if err := f.read(); err == nil || !strings.Contains(err.Error(), "root cgroup") || !strings.Contains(err.Error(), "systemd") {
		t.Errorf("got %v", err)
	}
}
