package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
