package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Down takes the cluster with this index down, whoever raised it and in whatever state it is: it goes by names, not by
// notes. It is no error if there is none.
func Down(ctx context.Context, o Options) error {
	c, err := prepare(o)
	if err != nil {
		return err
	}
	return c.Down(ctx)
}

// Down ends every process of the cluster and removes all that it had. Built things stay in the store.
func (c *Cluster) Down(ctx context.Context) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return c.takeDown(ctx)
}

func (c *Cluster) takeDown(ctx context.Context) error {
	if err := c.cg.kill(ctx, c.name()); err != nil {
		return err
	}
	// with the nodes' processes their mount namespaces went, and with those what was mounted in the run folder
	err := errors.Join(c.cg.remove(ctx, c.name()), c.removeNetwork(), os.RemoveAll(c.run()))
	return errors.Join(err, c.removeMountPoints())
}

// mountPoints are folders of the machine that a node lays its own over. They are made if the machine has none.
var mountPoints = []string{"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/etc/cni", "/opt/cni"}

// removeMountPoints removes those that are empty, once no cluster runs: removing one would take it from the nodes of
// the others.
func (c *Cluster) removeMountPoints() error {
	running, err := filepath.Glob(filepath.Join(c.opts.Dir, "run", "*", "state.json"))
	if err != nil || len(running) > 0 {
		return err
	}
	for _, dir := range mountPoints {
		_ = os.Remove(dir) // fails if it holds anything, as it should
	}
	return nil
}

// FailedDir holds the logs of the last cluster with this index that did not come up.
func (c *Cluster) FailedDir() string {
	return filepath.Join(c.opts.Dir, "failed", fmt.Sprint(c.index))
}

// keepLogs moves the logs to where they outlive the cluster, and gives an error that quotes their ends.
func (c *Cluster) keepLogs() error {
	_ = os.RemoveAll(c.FailedDir())
	if err := os.MkdirAll(filepath.Dir(c.FailedDir()), 0o755); err != nil {
		return err
	}
	if err := os.Rename(c.LogDir(), c.FailedDir()); err != nil {
		return err
	}
	return fmt.Errorf("the logs are in %s", c.FailedDir())
}

// Leftovers names what of this cluster is still there; nothing after Down.
func Leftovers(o Options) ([]string, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, root := range c.cg.all() {
		if _, err := os.Stat(filepath.Join(root, c.name())); err == nil {
			left = append(left, "cgroup "+filepath.Join(root, c.name()))
		}
	}
	if _, err := os.Stat(c.run()); err == nil {
		left = append(left, "folder "+c.run())
	}
	spaces, _ := os.ReadDir("/run/netns")
	for _, s := range spaces {
		if c.ownsNetns(s.Name()) {
			left = append(left, "network namespace "+s.Name())
		}
	}
	links, err := os.ReadDir("/sys/class/net")
	for _, l := range links {
		if c.ownsLink(l.Name()) {
			left = append(left, "link "+l.Name())
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, c.run()+"/") {
			left = append(left, "mount "+line)
		}
	}
	return left, err
}
