package harness

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// pages are what each of Weft's programs tells of itself on its pod's loopback, by port.
var pages = map[string]struct {
	port  int
	paths []string
}{
	"weft-ztunnel":    {15000, []string{"/config_dump", "/connections", "/certificates"}},
	"weft-agent":      {15010, []string{"/pods", "/debug", "/counters", "/metrics"}},
	"weft-controller": {15016, []string{"/debug/snapshot", "/debug/status"}},
}

// Page reads a page that a program shows on the loopback of its pod.
func (e *Env) Page(ctx context.Context, namespace, pod string, port int, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	kubectl := "kubectl"
	if e.Cluster != nil {
		kubectl = e.Cluster.Kubectl()
	}
	cmd := exec.CommandContext(ctx, kubectl, "-n", namespace, "port-forward", "pod/"+pod, fmt.Sprintf(":%d", port))
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	// Forwarding from 127.0.0.1:PORT -> 15000
	line, err := bufio.NewReader(out).ReadString('\n')
	_, rest, found := strings.Cut(line, "127.0.0.1:")
	local, _, _ := strings.Cut(rest, " ")
	if err != nil || !found {
		return "", fmt.Errorf("port-forward to %s/%s: %q: %w", namespace, pod, line, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:"+local+path, nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s of %s: %s", path, pod, res.Status)
	}
	return string(b), err
}

// keepPages writes all pages of all programs.
func (e *Env) keepPages(ctx context.Context, write func(file, text string, err error)) {
	for program, p := range pages {
		pods, err := e.SystemPods(ctx, program)
		if err != nil {
			write(program+".txt", "", err)
		}
		for _, pod := range pods {
			for _, path := range p.paths {
				text, err := e.Page(ctx, pod.Namespace, pod.Name, p.port, path)
				write("page-"+pod.Name+strings.ReplaceAll(path, "/", "-")+".txt", text, err)
			}
		}
	}
}
