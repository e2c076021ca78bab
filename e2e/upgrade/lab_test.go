package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/pkg/lab"
)

const labName = "wftupgrade"

const manifests = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {weft.dev/dataplane-mode: ambient}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: server, namespace: shop}
spec:
  template:
    metadata: {labels: {app: server}, annotations: {weft.dev/lab-node: n2}}
    spec:
      containers:
        - {name: app, image: test/load, args: [serve, "8080"], readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: shop}
spec:
  selector: {app: server}
  ports: [{name: tcp, port: 80, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: caller, namespace: shop}
spec:
  template:
    metadata: {labels: {app: caller}, annotations: {weft.dev/lab-node: n1}}
    spec:
      containers:
        - {name: app, image: test/load, args: [call, "server:80", "%d"]}
`

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mesh is a lab with both ends of connections on a node each.
type mesh struct {
	t   *testing.T
	bin string
	l   lab.Layout
	log string // of the caller
}

// stats as program load prints them.
type stats struct {
	Held, Bytes, Broken, Churned, Failed, Longest int64
	Why                                           string
}

func raise(t *testing.T, connections int) *mesh {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI has to run this as root")
		}
		t.Skip("raises a lab: needs root")
	}
	m := &mesh{t: t, bin: build(t), l: lab.Layout{Name: labName, Nodes: 2}}
	load := filepath.Join(t.TempDir(), "load")
	if out, err := exec.Command("go", "build", "-o", load, "./load").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "all.yaml"), fmt.Appendf(nil, manifests, connections), 0o644))
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range m.l.NodeNames() {
				log, _ := os.ReadFile(m.l.LogFile("ztunnel/" + n))
				t.Logf("ztunnel of %s: %s", n, tail(warnings(log), 4000))
			}
		}
		m.weftctl("lab", "down", "--name", labName)
	})
	m.weftctl("lab", "up", "--name", labName, "-f", dir, "--image", "test/load="+load)
	pods, err := m.l.Pods()
	must(t, err)
	for _, p := range pods {
		if p.Labels["app"] == "caller" {
			m.log = m.l.PodLog(p.Namespace, p.Name, "app")
		}
	}
	m.until("all connections are there", func(s stats) bool { return s.Held == int64(connections) && s.Churned > 0 })
	return m
}

// build finds the programs of $WEFT_BIN, which make test has just built, or builds them.
func build(t *testing.T) string {
	if bin := os.Getenv("WEFT_BIN"); bin != "" {
		return bin
	}
	root, err := filepath.Abs("../..")
	must(t, err)
	if out, err := exec.Command("make", "-C", root, "build").CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	return filepath.Join(root, "build", "bin")
}

// warnings leaves out what is as usual.
func warnings(log []byte) (out []byte) {
	for line := range bytes.Lines(log) {
		if !bytes.Contains(line, []byte(`"flags":"-"`)) && !bytes.Contains(line, []byte(" - ")) {
			out = append(out, line...)
		}
	}
	return out
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

func (m *mesh) weftctl(args ...string) string {
	m.t.Helper()
	out, err := exec.Command(filepath.Join(m.bin, "weftctl"), args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("weftctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// lines are all that the caller has printed.
func (m *mesh) lines() (out []stats) {
	m.t.Helper()
	b, err := os.ReadFile(m.log)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	must(m.t, err)
	for line := range bytes.Lines(b) {
		var s stats
		if json.Unmarshal(line, &s) == nil {
			out = append(out, s)
		}
	}
	return out
}

// now is what the caller last said; nothing may have broken.
func (m *mesh) now() (s stats) {
	m.t.Helper()
	all := m.lines()
	if len(all) == 0 {
		return s
	}
	s = all[len(all)-1]
	if s.Broken > 0 || s.Failed > 0 {
		m.t.Fatalf("%d connections broke, %d of %d new ones failed: %s", s.Broken, s.Failed, s.Churned, s.Why)
	}
	return s
}

func (m *mesh) until(what string, cond func(stats) bool) stats {
	m.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s := m.now()
		if cond(s) {
			return s
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("not reached: %s (%+v)", what, s)
		}
	}
}

// more waits until every connection has very likely moved something again.
func (m *mesh) more() {
	m.t.Helper()
	s := m.now()
	m.until("more bytes", func(n stats) bool { return n.Bytes > s.Bytes+s.Held*2000 && n.Churned > s.Churned+10 })
}
