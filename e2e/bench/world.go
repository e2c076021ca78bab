package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/lab"
)

// appPort is where the servers listen.
const appPort = 9000

// path is one way from a client to a server.
type path struct {
	name    string
	client  *corev1.Pod // where the load comes from
	addr    string      // what it calls
	cold    []string    // what it calls where nothing is warm; none: not measured
	cgroups []string    // of the proxies, absolute
}

// world is everything that is up.
type world struct {
	o     options
	lab   lab.Layout
	dir   string // manifests, certificates, peers' folders
	paths []*path
	peers []*peer
	// leftOut are peers that are not measured, and why.
	leftOut []string
}

// manifest is for a namespace, its labels and the node of its server; clients are on n1.
const manifest = `apiVersion: v1
kind: Namespace
metadata: {name: %[1]s%[2]s}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: %[1]s}
spec:
  selector: {app: server}
  ports: [{name: http, port: 9000, appProtocol: http}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: server}}
  template:
    metadata: {labels: {app: server}}
    spec:
      nodeSelector: {kubernetes.io/hostname: %[3]s}
      containers: [{name: app, image: bench/load, args: [serve, -addr, ":9000"], ports: [{containerPort: 9000}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client, namespace: %[1]s}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec:
      nodeSelector: {kubernetes.io/hostname: n1}
      containers: [{name: app, image: bench/load, args: [serve, -addr, ":9001"], ports: [{containerPort: 9001}]}]
`

const waypoint = `---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: l7}
spec:
  gatewayClassName: weft-waypoint
  listeners: [{name: mesh, port: 15008, protocol: HBONE}]
`

// raise brings up lab and peers, and waits until every path answers.
func raise(ctx context.Context, o options) (_ *world, err error) {
	w := &world{o: o, lab: lab.Layout{Name: o.name, Nodes: 2}}
	if w.dir, err = os.MkdirTemp("", "weft-bench-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.down())
		}
	}()
	say("raising the lab")
	manifests := filepath.Join(w.dir, "manifests")
	ambient := ", labels: {weft.dev/dataplane-mode: ambient}"
	texts := map[string][]byte{
		"direct": fmt.Appendf(nil, manifest, "direct", "", "n2"),
		"l4":     fmt.Appendf(nil, manifest, "l4", ambient, "n2"),
	}
	if wanted(o.paths, "l7") {
		texts["l7"] = fmt.Appendf(nil, manifest+waypoint, "l7", ", labels: {weft.dev/dataplane-mode: ambient, weft.dev/use-waypoint: waypoint}", "n2")
	}
	if o.asked("noisy") {
		for _, ns := range []string{"direct", "l4"} {
			texts[ns] = append(texts[ns], fmt.Sprintf(crowd, ns)...)
		}
	}
	if wanted(o.tests, "cold") && wanted(o.paths, "l4") {
		texts["cold"] = fmt.Appendf(nil, many, coldServers)
	}
	if wanted(o.paths, "near") {
		texts["near"] = fmt.Appendf(nil, manifest, "near", "", "n1")
	}
	if wanted(o.paths, "same") {
		texts["same"] = fmt.Appendf(nil, manifest, "same", ", labels: {weft.dev/dataplane-mode: ambient, weft.dev/same-node: direct}", "n1")
	}
	err = os.Mkdir(manifests, 0o755)
	for ns, text := range texts {
		err = errors.Join(err, os.WriteFile(filepath.Join(manifests, ns+".yaml"), text, 0o644))
	}
	if err != nil {
		return nil, err
	}
	out, err := w.weftctl(ctx, "lab", "up", "--name", o.name, "-f", manifests, "--bin", o.bin, "--envoy", o.envoy, "--tunnel-tls", o.tunnelTLS, "--same-node-hand-over", "always",
		"--image", "bench/load="+filepath.Join(o.bin, "weft-load")).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("raise the lab: %w\n%s", err, out)
	}
	if err := w.meshPaths(ctx); err != nil {
		return nil, err
	}
	if err := w.peerPaths(ctx); err != nil {
		return nil, err
	}
	for _, p := range w.paths {
		if err := w.warm(ctx, p); err != nil {
			return nil, err
		}
	}
	if wanted(o.tests, "cold") {
		return w, w.coldPaths(ctx)
	}
	return w, nil
}

// meshPaths waits for the pods and names the ways through the mesh.
func (w *world) meshPaths(ctx context.Context) error {
	root, err := lab.CgroupRoot()
	if err != nil {
		return err
	}
	ztunnels := []string{filepath.Join(root, w.lab.Cgroup("n1", "ztunnel")), filepath.Join(root, w.lab.Cgroup("n2", "ztunnel"))}
	services, err := w.lab.Services()
	if err != nil {
		return err
	}
	for _, ns := range []string{"direct", "l4", "l7", "near", "same"} {
		if ns != "direct" && !wanted(w.o.paths, ns) {
			continue
		}
		client, err := w.pod(ctx, ns, "client")
		if err != nil {
			return err
		}
		server, err := w.pod(ctx, ns, "server")
		if err != nil {
			return err
		}
		p := &path{name: ns, client: client, addr: fmt.Sprintf("%s:%d", server.Status.PodIP, appPort)}
		for _, s := range services {
			if s.Namespace == ns && s.Name == "server" && ns != "direct" && ns != "near" {
				p.addr = fmt.Sprintf("%s:%d", s.Spec.ClusterIP, appPort)
			}
		}
		switch ns {
		case "l4", "same":
			p.cgroups = ztunnels
		case "l7":
			gateway, err := w.pod(ctx, "l7", "waypoint")
			if err != nil {
				return err
			}
			p.cgroups = append(p.cgroups, ztunnels...)
			p.cgroups = append(p.cgroups, filepath.Join(root, w.lab.Cgroup(gateway.Spec.NodeName, "pods", "l7-"+gateway.Name)))
		}
		w.paths = append(w.paths, p)
	}
	return nil
}

// pod waits for the ready pod of a Deployment.
func (w *world) pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	pods, err := w.podsOf(ctx, namespace, name, 1)
	if err != nil {
		return nil, err
	}
	return pods[0], nil
}

// podsOf waits for n ready pods of a Deployment.
func (w *world) podsOf(ctx context.Context, namespace, name string, n int) ([]*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		pods, err := w.lab.Pods()
		if err != nil {
			return nil, err
		}
		pods = slices.DeleteFunc(pods, func(p *corev1.Pod) bool {
			return p.Namespace != namespace || !strings.HasPrefix(p.Name, name+"-") || !lab.PodReady(p)
		})
		if len(pods) >= n {
			return pods[:n], nil
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return nil, fmt.Errorf("%d ready pods %s/%s, not %d, after a minute (weftctl lab logs --name %s)", len(pods), namespace, name, n, w.o.name)
		}
	}
}

// warm calls a path until it answers.
func (w *world) warm(ctx context.Context, p *path) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		_, err := w.load(ctx, p, "max", "-conns", "16", "-for", "300ms")
		if err == nil {
			return nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("path %s does not answer after a minute: %w", p.name, err)
		}
	}
}

// result is what weft-load prints.
type result struct {
	Seconds  float64 `json:"seconds"`
	Bytes    int64   `json:"bytes"`
	Requests int64   `json:"requests"`
	Errors   int64   `json:"errors"`
	P50us    float64 `json:"p50us"`
	P90us    float64 `json:"p90us"`
	P99us    float64 `json:"p99us"`
	P999us   float64 `json:"p999us"`
	Conns    int     `json:"conns"`
}

// load runs the load generator in the path's client. Failed requests are an error.
func (w *world) load(ctx context.Context, p *path, mode string, args ...string) (result, error) {
	cmd := w.inClient(ctx, p, append([]string{mode, "-addr", p.addr}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return result{}, fmt.Errorf("%s over %s: %w: %s", mode, p.name, err, strings.TrimSpace(errs.String()))
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return result{}, fmt.Errorf("%s over %s: %w", mode, p.name, err)
	}
	if r.Errors > 0 {
		return r, fmt.Errorf("%s over %s: %d errors, %d requests: %s", mode, p.name, r.Errors, r.Requests, strings.TrimSpace(errs.String()))
	}
	return r, nil
}

func (w *world) inClient(ctx context.Context, p *path, args ...string) *exec.Cmd {
	argv := []string{"lab", "exec", "--name", w.o.name, p.client.Namespace + "/" + p.client.Name, "--", filepath.Join(w.o.bin, "weft-load")}
	return w.weftctl(ctx, append(argv, args...)...)
}

func (w *world) weftctl(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(w.o.bin, "weftctl"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// down takes everything away, whatever is there.
func (w *world) down() error {
	var errs []error
	for _, p := range w.peers {
		errs = append(errs, p.down())
	}
	return errors.Join(append(errs, lab.Down(w.lab), os.RemoveAll(w.dir))...)
}

func say(format string, a ...any) {
	fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().UTC().Format("15:04:05"), fmt.Sprintf(format, a...))
}

// pause waits, or returns the context's error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
