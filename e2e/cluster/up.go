package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Up builds what is missing and raises a cluster whose nodes are Ready and whose DNS answers. If it fails, or the
// context ends, everything is taken down again; logs are then in FailedDir.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	c, err := prepare(o)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := installTools(ctx); err != nil {
		return nil, err
	}
	if err := raiseInotify(); err != nil {
		return nil, err
	}
	b, err := c.opts.store().Build(ctx)
	if err != nil {
		return nil, err
	}
	unlock, err := c.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Stat(c.run("state.json")); err == nil {
		return nil, fmt.Errorf("a cluster with index %d is up, or was not taken down: weft-cluster down --index %d", o.Index, o.Index)
	}
	c.state = state{Nodes: c.opts.Nodes, ProxyMode: c.opts.ProxyMode, Family: c.opts.Family, Built: b, Processes: map[string]process{},
		Images: append([]string{b.baseImage(), b.corednsImage()}, c.opts.Images...)}
	if err := c.raise(ctx); err != nil {
		kept := c.keepLogs()
		return nil, errors.Join(err, kept, c.takeDown(context.WithoutCancel(ctx)))
	}
	logf(c.opts.Log, "cluster %d is up after %.1f s: %d nodes, %s", c.index, time.Since(began).Seconds(), c.state.Nodes, c.Kubeconfig())
	return c, nil
}

func (c *Cluster) raise(ctx context.Context) error {
	if err := os.MkdirAll(c.LogDir(), 0o755); err != nil {
		return err
	}
	if err := c.save(); err != nil { // from here on there is something to take down
		return err
	}
	if err := c.cg.make(filepath.Join(c.name(), "control")); err != nil {
		return err
	}
	if err := c.buildNetwork(); err != nil {
		return err
	}
	if err := writePKI(c.run("pki"), c.layout, c.state.Nodes); err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	if err := errors.Join(c.StartControl(etcd), c.StartControl(apiserver)); err != nil {
		return err
	}
	for n := 1; n <= c.state.Nodes; n++ {
		if err := c.startNode(n); err != nil {
			return err
		}
	}
	if err := c.WaitAPI(ctx); err != nil {
		return err
	}
	// not earlier: they end when they find no roles, which the API server makes when it is ready
	if err := errors.Join(c.StartControl(controllerManager), c.StartControl(scheduler)); err != nil {
		return err
	}
	if err := c.applyFile(ctx, "bootstrap.yaml"); err != nil {
		return err
	}
	if err := c.WaitNodes(ctx); err != nil {
		return err
	}
	logf(c.opts.Log, "nodes are Ready")
	if err := c.applyFile(ctx, "coredns.yaml"); err != nil {
		return err
	}
	_, err := c.Run(ctx, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
	return err
}

func (c *Cluster) buildNetwork() error {
	if err := c.buildBridge(); err != nil {
		return err
	}
	if err := c.buildPlace(c.name(), c.controlLink(), c.controlIP(), "", 0, c.state.Nodes); err != nil {
		return err
	}
	for n := 1; n <= c.state.Nodes; n++ {
		if err := c.buildPlace(c.nodeNetns(n), c.nodeLink(n), c.nodeIP(n), c.nodeIP6(n), n, c.state.Nodes); err != nil {
			return err
		}
	}
	return c.routeFromHost()
}

func (c *Cluster) applyFile(ctx context.Context, name string) error {
	b, err := fill(name, c.values(1))
	if err != nil {
		return err
	}
	return c.Apply(ctx, b)
}

// WaitNodes returns when every node is registered and Ready.
func (c *Cluster) WaitNodes(ctx context.Context) error {
	for n := 1; n <= c.state.Nodes; n++ {
		err := poll(ctx, 120*time.Second, "node "+nodeName(n)+" to be Ready ("+c.logFile("kubelet-"+nodeName(n))+")", func() error {
			out, err := c.Run(ctx, "get", "node", nodeName(n), "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
			if err == nil && out != "True" {
				err = fmt.Errorf("its Ready is %q", out)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// lock keeps two programs from raising or taking down the same cluster at once.
func (c *Cluster) lock() (func(), error) {
	dir := filepath.Join(c.opts.Dir, "run")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return lockFile(filepath.Join(dir, fmt.Sprintf("%d.lock", c.index)))
}

// Build does all of Up that comes before a cluster: afterwards Up takes seconds and needs no network. It gives the path
// of a program that it is asked for.
func Build(ctx context.Context, o Options, program ...string) (string, error) {
	c, err := prepare(o)
	if err != nil {
		return "", err
	}
	if err := installTools(ctx); err != nil {
		return "", err
	}
	b, err := c.opts.store().Build(ctx)
	if err != nil || len(program) == 0 {
		return "", err
	}
	for _, dir := range []string{b.Kube, b.Containerd, b.CoreDNS, b.Helm, b.App} {
		if _, err := os.Stat(filepath.Join(dir, program[0])); err == nil {
			return filepath.Join(dir, program[0]), nil
		}
	}
	return "", fmt.Errorf("no program %q is built", program[0])
}
