package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Down takes a lab away, whatever state it is in: it asks a living supervisor to do so, and then removes
// what is left. It is not an error when there is nothing.
func Down(l Layout) error {
	if st, err := l.ReadState(); err == nil && st.Supervisor.Alive() {
		_ = st.Supervisor.Signal(syscall.SIGTERM)
		for deadline := time.Now().Add(15 * time.Second); st.Supervisor.Alive() && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		if st.Supervisor.Alive() {
			_ = st.Supervisor.Signal(syscall.SIGKILL)
		}
	}
	return sweep(l)
}

// sweep ends every process of the lab and removes everything that bears its name.
func sweep(l Layout) error {
	errs := []error{killCgroup(l.Cgroup()), removeCgroup(l.Cgroup())}
	if root, err := CgroupRoot(); err == nil {
		_ = os.Remove(filepath.Join(root, filepath.Dir(l.Cgroup()))) // stays while another lab is up
	}
	for _, name := range netNSNames(l.Prefix()) {
		errs = append(errs, deleteNetNS(name))
	}
	_ = os.Remove(netnsDir) // only when it is empty; whoever needs it makes it again
	errs = append(errs, unpin(l.BPFRoot()), unmountBPF(l), os.RemoveAll(l.Dir()))
	_ = os.Remove(StateRoot)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("lab %s is not fully removed: %w (run: weftctl lab down --name %[1]s)", l.Name, err)
	}
	return nil
}

// unpin removes a folder of pins; the last reference to a program or map goes with its pin.
func unpin(root string) error {
	if err := os.RemoveAll(root); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pins: %w", err)
	}
	return nil
}

// mountedMark in the state directory says that the lab mounted the BPF file system, which was not there.
func mountedMark(l Layout) string { return l.Path("mounted-bpffs") }

// mountBPF mounts the BPF file system unless it is.
func mountBPF(l Layout) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(bpffs, &fs); err != nil {
		return fmt.Errorf("%s: %w (a kernel with CONFIG_BPF_SYSCALL is needed)", bpffs, err)
	}
	if fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpffs", bpffs, "bpf", 0, "mode=700"); err != nil {
		return fmt.Errorf("mount the BPF file system at %s: %w", bpffs, err)
	}
	return writeFile(mountedMark(l), nil)
}

// unmountBPF undoes mountBPF when nobody else has pinned anything meanwhile.
func unmountBPF(l Layout) error {
	if _, err := os.Stat(mountedMark(l)); errors.Is(err, fs.ErrNotExist) || !isMounted(bpffs) {
		return nil
	}
	entries, err := os.ReadDir(bpffs)
	if err != nil {
		return fmt.Errorf("look for pins: %w", err)
	}
	for _, e := range entries {
		if e.Name() != "maps.debug" && e.Name() != "progs.debug" { // the kernel's own are always there
			return nil
		}
	}
	if err := unix.Unmount(bpffs, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", bpffs, err)
	}
	return nil
}

func isMounted(path string) bool {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && fields[4] == path {
			return true
		}
	}
	return false
}

// Leftovers names what a lab has left on the machine; after Down there is nothing.
func Leftovers(l Layout) []string {
	left := netNSNames(l.Prefix())
	for i, name := range left {
		left[i] = filepath.Join(netnsDir, name)
	}
	paths := []string{l.Dir(), l.BPFRoot()}
	if root, err := CgroupRoot(); err == nil {
		paths = append(paths, filepath.Join(root, l.Cgroup()))
	}
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			left = append(left, p)
		}
	}
	return left
}
