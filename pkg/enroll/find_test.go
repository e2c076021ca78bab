package enroll

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weftmesh/weft/bpf"
	"github.com/weftmesh/weft/pkg/netns"
)

func TestPodOfCgroups(t *testing.T) {
	const uid, static = "0d5e3c5c-7d3f-4b0e-9e0c-1a2b3c4d5e6f", "0123456789abcdef0123456789abcdef"
	under := strings.ReplaceAll(uid, "-", "_")
	for name, c := range map[string]struct{ text, want string }{
		"cgroupfs, version 2":            {"0::/kubepods/burstable/pod" + uid + "/abc\n", uid},
		"cgroupfs, guaranteed":           {"0::/kubepods/pod" + uid + "\n", uid},
		"systemd":                        {"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + under + ".slice/cri-containerd-abc.scope\n", uid},
		"systemd, guaranteed":            {"0::/kubepods.slice/kubepods-pod" + under + ".slice/crio-abc.scope\n", uid},
		"version 1":                      {"4:memory:/kubepods/besteffort/pod" + uid + "/abc\n1:cpu:/\n0::/\n", uid},
		"seen from another namespace":    {"0::/../../kubepods/pod" + uid + "/abc\n", uid},
		"below another root, k3s, kind":  {"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + under + ".slice/x\n", uid},
		"static":                         {"0::/kubepods/burstable/pod" + static + "/abc\n", static},
		"the container's own names":      {"0::/kubepods/pod" + uid + "/abc/pod" + static + "\n", uid},
		"none":                           {"0::/system.slice/containerd.service\n", ""},
		"no uid":                         {"0::/machine.slice/libpod-" + uid + ".scope\n", ""},
		"longer than a uid":              {"0::/kubepods/pod" + uid + "0/abc\n", ""},
		"a line without colons":          {"kubepods/pod" + uid + "\n", ""},
		"a colon in the path (allowed)":  {"0::/a:b/pod" + uid + "/c\n", uid},
		"name that only ends like a pod": {"0::/tripod" + uid + "/c\n", ""},
	} {
		if got := podOfCgroups(c.text); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// cgroupTree is a part of the real hierarchy that is this test's own.
func cgroupTree(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root, and CI must provide it")
		}
		t.Skip("needs root: cgroups and network namespaces")
	}
	root, err := bpf.CgroupRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, fmt.Sprintf("wft-find-%d", os.Getpid()))
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var dirs []string
		_ = filepath.WalkDir(path, func(p string, d os.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append([]string{p}, dirs...) // deepest first
			}
			return nil
		})
		for _, d := range dirs {
			eventually(t, d+" removed", func() bool { return os.Remove(d) == nil })
		}
	})
	return path
}

// process starts one in a cgroup, with flags such as CLONE_NEWNET. It returns when it has been executed.
func process(t *testing.T, cgroup string, flags uintptr) *exec.Cmd {
	t.Helper()
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("sleep", "600")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(cmd) })
	return cmd
}

func end(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func cookieOf(t *testing.T, cmd *exec.Cmd) uint64 {
	t.Helper()
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.Cookie()
}

func TestFinder(t *testing.T) {
	tree := cgroupTree(t)
	f, err := NewFinder()
	if err != nil {
		t.Fatal(err)
	}
	const uid, other = "0d5e3c5c-7d3f-4b0e-9e0c-1a2b3c4d5e6f", "1d5e3c5c-7d3f-4b0e-9e0c-1a2b3c4d5e6f"
	p := Pod{UID: uid, Namespace: "shop", Name: "a"}
	folder := filepath.Join(tree, "kubepods", "pod"+uid)
	find := func() (uint64, error) {
		ns, err := f.Open(p)
		if err != nil {
			return 0, err
		}
		defer ns.Close()
		return ns.Cookie(), nil
	}
	want := func(what string, cmd *exec.Cmd) {
		t.Helper()
		if got, err := find(); err != nil || got != cookieOf(t, cmd) {
			t.Errorf("%s: %v, %v, want %v", what, got, err, cookieOf(t, cmd))
		}
	}
	none := func(what string) {
		t.Helper()
		if got, err := find(); !errors.Is(err, errNoProcess) {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	none("no pod")
	process(t, filepath.Join(folder, "hooks"), 0) // in the node's namespace, as a container is before it enters its own
	none("only a process in the node's namespace")
	pause := process(t, filepath.Join(folder, "pause"), syscall.CLONE_NEWNET)
	want("sandbox", pause)
	process(t, filepath.Join(folder, "app", "own"), syscall.CLONE_NEWNET)
	f.pids = map[string][]int{} // as a new agent
	want("beside a namespace that the application made", pause)
	neighbour := process(t, filepath.Join(tree, "kubepods", "pod"+other, "pause"), syscall.CLONE_NEWNET)
	want("beside another pod", pause)

	// Its number is another pod's now.
	f.pids[uid] = []int{neighbour.Process.Pid}
	want("pid reused", pause)
	if _, err := openProcess(neighbour.Process.Pid, uid); err == nil {
		t.Error("another pod's process was taken")
	}
	if _, err := openProcess(1<<22, uid); err == nil {
		t.Error("no such process, and nobody says so")
	}

	// The sandbox is made anew.
	end(pause)
	for _, cmd := range []string{"own"} {
		killCgroup(t, filepath.Join(folder, "app", cmd))
	}
	none("all have ended")
	pause = process(t, filepath.Join(folder, "pause2"), syscall.CLONE_NEWNET)
	want("made anew", pause)

	// A pod that has no process yet, and then has.
	starting := process(t, filepath.Join(tree, "elsewhere"), syscall.CLONE_NEWNET)
	ns, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", starting.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Starting(uid, ns); err != nil {
			t.Fatal(err)
		}
	}
	ns.Close()
	want("starting", starting)
	f.Started(uid)
	f.Started(uid)
	want("started", pause)
}

// killCgroup ends all in it.
func killCgroup(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ended", func() bool {
		b, err := os.ReadFile(filepath.Join(path, "cgroup.events"))
		return err == nil && strings.Contains(string(b), "populated 0")
	})
}
