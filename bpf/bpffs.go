package bpf

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func onBPFFS(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("pin directory %s: %w", path, err)
	}
	if uint32(fs.Type) != unix.BPF_FS_MAGIC {
		return fmt.Errorf("pin directory %s is %w (mount -t bpf bpf /sys/fs/bpf)", path, ErrNotBPFFS)
	}
	return nil
}

// MountBPFFS mounts a bpffs at path, making the directory, unless there is one.
func MountBPFFS(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("mount bpffs: %w", err)
	}
	if onBPFFS(path) == nil {
		return nil
	}
	if err := unix.Mount("bpf", path, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpffs at %s: %w (needs CAP_SYS_ADMIN)", path, err)
	}
	return nil
}
