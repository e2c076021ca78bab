package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// fromDebian are the programs that a node needs and that are not built from Go modules, with their packages.
var fromDebian = [][2]string{
	{"runc", "runc"}, {"nft", "nftables"}, {"iptables", "iptables"}, {"ip", "iproute2"}, {"conntrack", "conntrack"}, {"nsenter", "util-linux"},
}

// installTools installs what is missing with apt-get.
func installTools(ctx context.Context) error {
	var want []string
	for _, p := range fromDebian {
		if !haveProgram(p[0]) {
			want = append(want, p[1])
		}
	}
	if _, err := os.Stat("/bin/busybox"); err != nil { // must be this one: it is static, so it runs in an empty image
		want = append(want, "busybox-static")
	}
	if len(want) == 0 {
		return nil
	}
	if !haveProgram("apt-get") {
		return fmt.Errorf("missing %s, and no apt-get to install them with: install them by hand", strings.Join(want, ", "))
	}
	for _, args := range [][]string{{"update", "-q"}, append([]string{"install", "-y", "-q", "--no-install-recommends"}, want...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", args[0], errors.Join(err, ctx.Err()), tail(out, 10))
		}
	}
	return nil
}

// haveProgram also looks where root's programs are: PATH may lack it.
func haveProgram(name string) bool {
	if _, err := exec.LookPath(name); err == nil {
		return true
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// inotifyInstances are enough for ten clusters: kubelets, containerds and many programs in pods each want some, and a
// machine's default of 128 is used up by two or three clusters.
const inotifyInstances = 8192

// raiseInotify raises a limit of the whole machine that nodes share; it never lowers it.
func raiseInotify() error {
	const file = "/proc/sys/fs/inotify/max_user_instances"
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || n >= inotifyInstances {
		return err
	}
	return os.WriteFile(file, []byte(strconv.Itoa(inotifyInstances)), 0o644)
}
