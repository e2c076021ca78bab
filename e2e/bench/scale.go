package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// scale is what a controller and a ztunnel need for a mesh of a size: no traffic, a Service for each ten workloads, a
// policy for each hundred.
type scale struct {
	Workloads int     `json:"workloads"`
	Services  int     `json:"services"`
	Ztunnel   int64   `json:"ztunnelBytes"`    // resident
	Control   int64   `json:"controllerBytes"` // resident
	Compiled  float64 `json:"compiledSeconds"` // from the controller's start until it serves
	Synced    float64 `json:"syncedSeconds"`   // from ztunnel's start until it knows everything
	CPU       float64 `json:"ztunnelCPUSeconds"`
	Peak      int64   `json:"ztunnelPeakBytes"` // resident, while it read everything
	Change    change  `json:"change"`           // of one pod
}

func (s scale) String() string {
	return fmt.Sprintf("%d workloads, %d services: ztunnel %d MB resident (peak %d), knows all %.1f s after its start (%.1f CPU-s); controller %d MB, serves %.1f s after its start; one change: %s",
		s.Workloads, s.Services, s.Ztunnel>>20, s.Peak>>20, s.Synced, s.CPU, s.Control>>20, s.Compiled, s.Change)
}

func (r *report) measureScale(ctx context.Context, o options) error {
	for _, n := range o.scale {
		say("a mesh of %d workloads", n)
		s, err := scaleOf(ctx, o, n)
		if err != nil {
			return fmt.Errorf("a mesh of %d workloads: %w", n, err)
		}
		r.Scale = append(r.Scale, s)
	}
	return nil
}

// scaleOf runs the real controller on generated objects and the real ztunnel of a node that has none of the pods, and
// then changes one pod after the other.
func scaleOf(ctx context.Context, o options, workloads int) (s scale, err error) {
	s = scale{Workloads: workloads, Services: workloads / 10}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	c, err := startControl(ctx, o, workloads)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	s.Compiled = c.ready.Seconds()
	token, err := c.token("measured")
	if err != nil {
		return s, err
	}
	began := time.Now()
	zt, err := start(ctx, c.in("ztunnel.log"), filepath.Join(o.bin, "weft-ztunnel"), "--node", "measured", "--controller", c.listen,
		"--token-file", token, "--root-cert", c.in("ca/root-cert.pem"), "--zds-socket", c.in("zds.sock"), "--admin", "off", "--metrics", "off", "--ready", "off",
		"--admin-socket", c.in("ztunnel.sock"))
	if err != nil {
		return s, err
	}
	defer stop(zt)
	if err := until(ctx, zt, func() bool { return knows(c.in("ztunnel.sock")) >= workloads }); err != nil {
		return s, err
	}
	s.Synced = time.Since(began).Seconds()
	if err := pause(ctx, 3*time.Second); err != nil {
		return s, err
	}
	if s.CPU, err = cpuOf(zt.Process.Pid); err != nil {
		return s, err
	}
	if s.Ztunnel, err = residentOf(zt.Process.Pid); err != nil {
		return s, err
	}
	if s.Peak, err = peakOf(zt.Process.Pid); err != nil {
		return s, err
	}
	if s.Control, err = residentOf(c.Process.Pid); err != nil {
		return s, err
	}
	s.Change, err = c.oneByOne(ctx, zt.Process.Pid, 30)
	return s, err
}

// generate writes the objects, a thousand pods a file.
func generate(dir string, workloads int) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	const each = 1000
	for from := 0; from < workloads; from += each {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("objects-%03d.yaml", from/each)))
		if err != nil {
			return err
		}
		w := bufio.NewWriter(f)
		ns := fmt.Sprintf("team-%03d", from/each)
		fmt.Fprintf(w, "apiVersion: v1\nkind: Namespace\nmetadata: {name: %s, labels: {weft.dev/dataplane-mode: ambient}}\n", ns)
		for i := from; i < min(from+each, workloads); i++ {
			if app := i / 10; i%10 == 0 {
				fmt.Fprintf(w, "---\napiVersion: v1\nkind: Service\nmetadata: {name: app-%d, namespace: %s}\nspec: {clusterIP: 10.%d.%d.%d, clusterIPs: [10.%d.%d.%d], selector: {app: app-%d}, ports: [{name: http, port: 80, targetPort: 8080}]}\n",
					app, ns, 100+app>>16, app>>8&255, app&255, 100+app>>16, app>>8&255, app&255, app)
			}
			if i%100 == 0 {
				fmt.Fprintf(w, "---\napiVersion: weft.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: app-%d, namespace: %s}\nspec: {selector: {matchLabels: {app: app-%d}}, rules: [{from: [{source: {principals: [cluster.local/ns/x/sa/y]}}]}]}\n", i/10, ns, i/10)
			}
			ip := fmt.Sprintf("10.%d.%d.%d", 200+i>>16, i>>8&255, i&255)
			fmt.Fprintf(w, "---\napiVersion: v1\nkind: Pod\nmetadata: {name: app-%d-%d, namespace: %s, uid: u%d, labels: {app: app-%d}, annotations: {weft.dev/redirection: enabled}}\nspec: {nodeName: node-%d, serviceAccountName: app-%d, containers: [{name: app, image: app}]}\nstatus: {phase: Running, podIP: %s, podIPs: [{ip: %s}], conditions: [{type: Ready, status: \"True\"}]}\n",
				i/10, i, ns, i, i/10, i%100, i/10, ip, ip)
		}
		if err := errors.Join(w.Flush(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func start(ctx context.Context, log, program string, args ...string) (*exec.Cmd, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return cmd, nil
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func until(ctx context.Context, cmd *exec.Cmd, cond func() bool) error {
	for !cond() {
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("%s is not ready: %w", filepath.Base(cmd.Path), err)
		}
	}
	return nil
}

func get(socket, page string) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	resp, err := client.Get("http://admin" + page)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

func answers(socket, page string) bool {
	_, err := get(socket, page)
	return err == nil
}

// knows is the number of workloads that a ztunnel has been told of.
func knows(socket string) int {
	data, err := get(socket, "/metrics")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "weft_ztunnel_workloads "); ok {
			n, _ := strconv.ParseFloat(strings.TrimSpace(v), 64)
			return int(n)
		}
	}
	return 0
}

// cpuOf is the CPU time of a process, in seconds (proc_pid_stat(5), fields 14 and 15).
func cpuOf(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, data)
	}
	var user, sys float64
	_, err = fmt.Sscan(f[11]+" "+f[12], &user, &sys)
	return (user + sys) / 100, err
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
