package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/lab/capture"
)

// StartCapture records what crosses the link from one node to another.
func StartCapture(l Layout, node, peer string) (*capture.Capture, error) {
	var c *capture.Capture
	err := InNetNS(l.NodeNS(node), func() (err error) {
		c, err = capture.Start(WireName(peer))
		return err
	})
	return c, err
}

// Processes lists a pod's processes, to tell later whether they are still the same.
func Processes(l Layout, p *corev1.Pod) ([]ProcessID, error) {
	root, err := CgroupRoot()
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(root, l.podCgroup(p.Spec.NodeName, p.Namespace, p.Name), "cgroup.procs"))
	if err != nil {
		return nil, fmt.Errorf("processes of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	var all []ProcessID
	for _, field := range strings.Fields(string(data)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		if id, err := identify(pid); err == nil {
			all = append(all, id)
		}
	}
	return all, nil
}

// FromNode runs a command in a node's network, as a part of its kubelet or as any other process of the
// node, and returns what it wrote.
func FromNode(ctx context.Context, l Layout, node string, asKubelet bool, argv []string) (string, error) {
	cgroup := l.Cgroup(node, "other")
	if asKubelet {
		cgroup = l.Cgroup(node, "kubelet")
	}
	var out bytes.Buffer
	path, err := lookPath(argv[0])
	if err != nil {
		return "", err
	}
	c := command{path: path, args: argv[1:], netns: l.NodeNS(node), cgroup: cgroup, stdout: &out, stderr: &out}
	cmd, err := c.start()
	if err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	err = cmd.Wait()
	return out.String(), err
}

// lookPath finds a program beside the running one, or in PATH.
func lookPath(name string) (string, error) {
	for _, dir := range filepath.SplitList(strings.TrimPrefix(BaseEnv()[0], "PATH=")) {
		path := filepath.Join(dir, name)
		if st, err := os.Stat(path); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("program %s is neither beside weftctl nor in PATH (make build?)", name)
}
