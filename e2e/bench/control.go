package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
)

// control is a real controller on generated objects in a folder.
type control struct {
	*exec.Cmd
	dir    string
	listen string
	ready  time.Duration // from its start until it served
	made   int           // pods that changes have made
}

// startControl starts one and waits until it serves.
func startControl(ctx context.Context, o options, workloads int) (c *control, err error) {
	dir, err := os.MkdirTemp("", "weft-bench-scale-")
	if err != nil {
		return nil, err
	}
	c = &control{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.stop())
		}
	}()
	if err := errors.Join(generate(c.in("objects"), workloads), ca.CreateTokenKey(c.in("key.pem")), ca.CreateRoot(c.in("ca"), "cluster.local", time.Now())); err != nil {
		return nil, err
	}
	if c.listen, err = freePort(); err != nil {
		return nil, err
	}
	began := time.Now()
	c.Cmd, err = start(ctx, c.in("controller.log"), filepath.Join(o.bin, "weft-controller"), "--source", "dir:"+c.in("objects"), "--state-dir", c.in("state"),
		"--listen", c.listen, "--debug-listen", "off", "--admin-socket", c.in("controller.sock"), "--ca-dir", c.in("ca"), "--token-public-key", c.in("key.pem.pub"))
	if err != nil {
		return nil, err
	}
	if err := until(ctx, c.Cmd, func() bool { return answers(c.in("controller.sock"), "/ready") }); err != nil {
		return nil, err
	}
	c.ready = time.Since(began)
	return c, nil
}

func (c *control) in(name string) string { return filepath.Join(c.dir, name) }

func (c *control) stop() error {
	if c.Cmd != nil {
		stop(c.Cmd)
	}
	return os.RemoveAll(c.dir)
}

// token is a file with the token of the ztunnel of a node.
func (c *control) token(node string) (string, error) {
	text, err := ca.MintToken(ca.MintOptions{KeyFile: c.in("key.pem"), ServiceAccount: "weft-system/weft-ztunnel", Node: node, Pod: "weft-ztunnel", TTL: time.Hour})
	if err != nil {
		return "", err
	}
	return c.in("token-" + node), os.WriteFile(c.in("token-"+node), []byte(text), 0o600)
}

// churnName begins the names of pods that changes make; their number follows.
const churnName = "churn-"

// churn makes one more pod, and deletes the one that was made so many before it.
func (c *control) churn(keep int) error {
	i := c.made
	c.made++
	name := fmt.Sprintf("%s%d", churnName, i)
	text := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: team-000, uid: %s, labels: {app: app-0}, annotations: {weft.dev/redirection: enabled}}\nspec: {nodeName: node-%d, serviceAccountName: app-0, containers: [{name: app, image: app}]}\nstatus: {phase: Running, podIP: 172.%d.%d.%d, podIPs: [{ip: 172.%d.%d.%d}], conditions: [{type: Ready, status: \"True\"}]}\n",
		name, name, i%100, 16+i>>16&15, i>>8&255, i&255, 16+i>>16&15, i>>8&255, i&255)
	tmp := c.in("pod.tmp")
	if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o644), os.Rename(tmp, c.in("objects/"+name+".yaml"))); err != nil {
		return err
	}
	if i < keep {
		return nil
	}
	return os.Remove(c.in(fmt.Sprintf("objects/%s%d.yaml", churnName, i-keep)))
}

// peakOf is the most that a process ever had resident.
func peakOf(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(data, []byte("VmHWM:"))
	line, _, _ := strings.Cut(string(rest), " kB")
	kb, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	return kb << 10, err
}
