package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// nodeSpec is all that a node's first process has to know.
type nodeSpec struct {
	Name       string
	Dir        string // of the node, below the run folder
	Logs       string
	PKI        string
	IP         string // or two, as the kubelet takes them
	Dual       bool
	Cgroup     string // of the node, in every hierarchy
	Netns      string
	Kube       string   // folder of Kubernetes
	Containerd string   // folder of containerd
	Images     []string // archives
}

func (c *Cluster) nodeDir(n int) string { return c.run(nodeName(n)) }

// startNode prepares the node's folder and cgroup, and starts its first process. The node's disk is kept as it was:
// starting a node again is a reboot.
func (c *Cluster) startNode(n int) error {
	dir := c.nodeDir(n)
	for _, d := range append([]string{"/var/log"}, mountPoints...) {
		if err := os.MkdirAll(filepath.Join(dir, "disk", d), 0o755); err != nil {
			return err
		}
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	v := c.values(n)
	files := map[string]string{"kubelet.yaml": "kubelet.yaml", "proxy.yaml": "proxy.yaml", "containerd.toml": "containerd.toml"}
	conflist := filepath.Join("disk/etc/cni/net.d", "10-e2e.conflist")
	if _, err := os.Stat(filepath.Join(dir, conflist)); err != nil { // not after a reboot: it may have been chained to
		files[conflist] = "cni.conflist"
	}
	if err := os.MkdirAll(filepath.Join(dir, "disk/etc/cni/net.d"), 0o755); err != nil {
		return err
	}
	for file, from := range files {
		if err := fillFile(filepath.Join(dir, file), from, v); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), nil, 0o644); err != nil {
		return err
	}
	if err := c.cg.make(c.nodeCgroup(n)); err != nil {
		return err
	}
	spec, err := json.Marshal(nodeSpec{
		Name: nodeName(n), Dir: dir, Logs: c.LogDir(), PKI: c.run("pki"), IP: c.both(c.nodeIP(n), c.nodeIP6(n)), Dual: c.dual, Cgroup: c.nodeCgroup(n), Netns: c.nodeNetns(n),
		Kube: c.state.Built.Kube, Containerd: c.state.Built.Containerd, Images: c.state.Images,
	})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "node.json")
	if err := os.WriteFile(file, spec, 0o644); err != nil {
		return err
	}
	return c.enterNode(n, file)
}

// enterNode runs this program's own node-enter, which prints the pid of the node's first process.
func (c *Cluster) enterNode(n int, spec string) error {
	self, err := copySelf(c.run("weft-cluster"))
	if err != nil {
		return err
	}
	out, err := exec.Command(self, nodeEnter, spec).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("starting node %s: %w", nodeName(n), err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		return fmt.Errorf("starting node %s: %w", nodeName(n), err)
	}
	p, err := lookup(pid)
	if err != nil {
		return fmt.Errorf("node %s (%s): %w", nodeName(n), c.logFile("node-"+nodeName(n)), err)
	}
	c.state.Processes[nodeName(n)] = p
	return c.save()
}

// copySelf keeps this program beside the cluster: that of `go run` is gone when it ends, and a reboot wants it again.
func copySelf(to string) (string, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer self.Close()
	if _, err := os.Stat(to); err == nil {
		return to, nil
	}
	f, err := os.OpenFile(to+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_CLOEXEC, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, self)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	return to, os.Rename(to+".new", to)
}

// StopNode ends all processes of a node at once, as a power cut does: pods, their network namespaces, mounts and pins
// go with it, its disk stays.
func (c *Cluster) StopNode(ctx context.Context, name string) error {
	n, err := nodeNumber(name, c.state.Nodes)
	if err != nil {
		return err
	}
	if err := c.cg.kill(ctx, c.nodeCgroup(n)); err != nil {
		return err
	}
	if err := c.cg.remove(ctx, c.nodeCgroup(n)); err != nil {
		return err
	}
	return netns.DeleteNamed(c.nodeNetns(n)) // and the veth with it
}

// StartNode starts a node that was stopped.
func (c *Cluster) StartNode(_ context.Context, name string) error {
	n, err := nodeNumber(name, c.state.Nodes)
	if err != nil {
		return err
	}
	// the kernel takes a namespace's links away some time after the namespace
	if link, err := netlink.LinkByName(c.nodeLink(n)); err == nil {
		if err := netlink.LinkDel(link); err != nil && !gone(err) {
			return err
		}
	}
	if err := c.buildPlace(c.nodeNetns(n), c.nodeLink(n), c.nodeIP(n), c.nodeIP6(n), n, c.state.Nodes); err != nil {
		return err
	}
	return c.startNode(n)
}

// NodePID is the first process of a node: through it one enters the node's namespaces.
func (c *Cluster) NodePID(name string) (int, error) {
	p, known := c.state.Processes[name]
	if !known || !p.alive() {
		return 0, fmt.Errorf("node %q does not run: this cluster has %v", name, c.Nodes())
	}
	return p.PID, nil
}

// Link is the machine's end of a node's link: all that the node sends and gets passes it.
func (c *Cluster) Link(node string) (string, error) {
	n, err := nodeNumber(node, c.state.Nodes)
	return c.nodeLink(n), err
}

// NodeCommand is a command that runs within a node.
func (c *Cluster) NodeCommand(ctx context.Context, node string, argv ...string) (*exec.Cmd, error) {
	pid, err := c.NodePID(node)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(pid), "--all", "--"}, argv...)...)
	cmd.Env = append(os.Environ(), "PATH="+c.state.Built.Containerd+":"+c.state.Built.Kube+":"+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return cmd, nil
}

// Load imports image archives into every node.
func (c *Cluster) Load(ctx context.Context, archives ...string) error {
	for _, node := range c.Nodes() {
		for _, archive := range archives {
			f, err := os.Open(archive)
			if err != nil {
				return err
			}
			cmd, err := c.NodeCommand(ctx, node, c.state.Built.ctr(), "-n", "k8s.io", "images", "import", "-")
			if err == nil {
				cmd.Stdin = f // a node does not see every folder of the machine
				var out []byte
				if out, err = cmd.CombinedOutput(); err != nil {
					err = fmt.Errorf("loading %s into %s: %w: %s", archive, node, err, out)
				}
			}
			f.Close()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Status tells of every program of the control plane and of every node whether it runs.
func (c *Cluster) Status() map[string]bool {
	all := map[string]bool{}
	for name, p := range c.state.Processes {
		all[name] = p.alive()
	}
	return all
}

// routeFromHost lets the machine reach pods by their addresses.
func (c *Cluster) routeFromHost() error {
	return c.routePods(netlink.RouteReplace, 0, c.state.Nodes)
}
