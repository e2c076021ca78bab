package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/ca"
)

func TestFlagsThatAreWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"--node is required":  {},
		"--dns-upstream":      {"--dns-upstream", "nowhere"},
		"--access-log":        {"--access-log", "xml"},
		"--log-level":         {"--log-level", "loud"},
		"--tunnel-tls":        {"--tunnel-tls", "openssl"},
		"--log-format":        {"--log-format", "xml"},
		"--trace-collector":   {"--trace-collector", "collector:4317"},
		"--trace-percentage":  {"--trace-percentage", "101"},
		"--memory-limit":      {"--memory-limit", "-1"},
		"--drain-seconds":     {"--drain-seconds", "-1"},
		"read trusted roots":  {"--root-cert", "/nonexistent"},
		"unknown command \"x": {"x"},
	} {
		c := command()
		c.SetOut(io.Discard)
		c.SetErr(io.Discard)
		base := []string{"--node", "n1", "--controller", "127.0.0.1:1", "--token-file", "t", "--root-cert", "r"}
		if want == "--node is required" {
			base = []string{"--node="}
		}
		c.SetArgs(append(base, args...))
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", args, err, want)
		}
	}
}

// Without a controller the program runs, is not ready, and stops when it is told to.
func TestRunWithoutController(t *testing.T) {
	for _, driver := range []string{"stdlib", "records"} {
		t.Run(driver, func(t *testing.T) { runWithoutController(t, driver) })
	}
}

func runWithoutController(t *testing.T, driver string) {
	dir := t.TempDir()
	if err := ca.CreateRoot(dir, "cluster.local", time.Now()); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "admin.sock")
	c := config{node: "n1", controller: "127.0.0.1:1", rootCert: filepath.Join(dir, "root-cert.pem"), tokenFile: filepath.Join(dir, "token"),
		zdsSocket: filepath.Join(dir, "zds.sock"), trustDomain: "cluster.local", clusterDomain: "cluster.local", admin: "off", adminSocket: socket,
		metrics: "127.0.0.1:0", ready: "127.0.0.1:0", tunnelTLS: driver, accessLog: "off", logLevel: "error", logFormat: "text", certTTL: time.Hour}
	done := make(chan error, 1)
	go func() { done <- run(context.Background(), c) }()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", socket) }}}
	get := func(method, path string) (int, string) {
		r, _ := http.NewRequest(method, "http://ztunnel"+path, nil)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			resp, err := client.Do(r)
			if err == nil {
				b, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				return resp.StatusCode, string(b)
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	if code, body := get("GET", "/ready"); code != 503 || !strings.Contains(body, "no configuration") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get("GET", "/config_dump"); code != 200 || !strings.Contains(body, `"node": "n1"`) {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get("GET", "/metrics"); code != 200 || !strings.Contains(body, "weft_ztunnel_pods 0") {
		t.Errorf("%d %.200s", code, body)
	}
	if code, _ := get("POST", "/quitquitquit"); code != 200 {
		t.Errorf("%d", code)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("did not stop")
	}
}
