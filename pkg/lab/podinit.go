package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// podInit is what a process needs before it becomes the pod's.
type podInit struct {
	Hostname   string     `json:"hostname"`
	ResolvConf string     `json:"resolvConf"`
	Mounts     []podMount `json:"mounts,omitempty"`
}

type podMount struct {
	Source   string `json:"source"`
	Target   string `json:"target"`
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// ErrNoCommand is wrapped when a pod's command is no program.
var ErrNoCommand = errors.New("no such program")

// PodInit turns the calling process, already in the pod's network namespace and cgroup and in a mount and
// UTS namespace of its own, into a process of the pod and executes argv. It returns only on failure.
//
// The pod sees the machine's file system, but an empty /run (so not the lab's sockets, nor other pods'
// namespaces), its own /etc/resolv.conf, and its volumes.
func PodInit(file string, argv []string) error {
	if len(argv) == 0 {
		return errors.New("pod-init: no command")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("pod-init: %w (does the pod still run?)", err)
	}
	var setup podInit
	if err := json.Unmarshal(data, &setup); err != nil {
		return fmt.Errorf("pod-init: %s: %w", file, err)
	}
	if err := setup.enter(); err != nil {
		return fmt.Errorf("pod-init: %w", err)
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return fmt.Errorf("pod-init: %w: %w", ErrNoCommand, err)
	}
	return fmt.Errorf("pod-init: execute %s: %w", path, unix.Exec(path, argv, os.Environ()))
}

func (p podInit) enter() error {
	if p.Hostname != "" {
		if err := unix.Sethostname([]byte(p.Hostname)); err != nil {
			return fmt.Errorf("set host name: %w", err)
		}
	}
	// Open sources first: /run is about to disappear.
	sources := make([]int, 0, len(p.Mounts)+1)
	for _, m := range append(p.Mounts, podMount{Source: p.ResolvConf}) {
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
		if err != nil {
			return fmt.Errorf("open %s: %w", m.Source, err)
		}
		sources = append(sources, fd)
	}
	if err := hideRun(); err != nil {
		return err
	}
	for i, m := range p.Mounts {
		if err := attach(sources[i], m.Target, m.ReadOnly, true); err != nil {
			return err
		}
	}
	target, err := resolveLinks("/etc/resolv.conf")
	if err != nil {
		return err
	}
	return attach(sources[len(p.Mounts)], target, true, false)
}

// hideRun covers /run, after letting go of the namespaces that are mounted below it: a copy of such a
// mount would keep another pod's namespace alive.
func hideRun() error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 4 && strings.HasPrefix(fields[4], netnsDir+"/") {
			_ = unix.Unmount(fields[4], unix.MNT_DETACH)
		}
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755,size=16m"); err != nil {
		return fmt.Errorf("cover /run: %w", err)
	}
	return nil
}

// attach puts an opened tree at a place, making the place where it is below /run.
func attach(tree int, target string, readOnly, dir bool) error {
	resolved, err := resolveLinks(target)
	if err != nil {
		return err
	}
	if strings.HasPrefix(resolved, "/run/") {
		if err := makePlace(resolved, dir); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, resolved, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount at %s (pods of the lab share the machine's files: a mount path must exist, or be below /run): %w", target, err)
	}
	if readOnly {
		if err := unix.Mount("", resolved, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("make %s read-only: %w", target, err)
		}
	}
	return nil
}

func makePlace(path string, dir bool) error {
	if dir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// resolveLinks follows symbolic links of a path whose end need not exist (/var/run/x → /run/x).
func resolveLinks(path string) (string, error) {
	rest := ""
	for at := path; ; at = filepath.Dir(at) {
		if target, err := os.Readlink(at); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(at), target)
			}
			return resolveLinks(filepath.Join(target, rest))
		}
		resolved, err := filepath.EvalSymlinks(at)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		if at == "/" {
			return "", fmt.Errorf("resolve %s: %w", path, err)
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}
