package docs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/e2e/cluster"
	"github.com/weftmesh/weft/e2e/kube/harness"
)

// pages in the order in which a person comes by them.
var pages = []string{"install.md", "enroll.md", "operate.md", "cni.md", "kernels.md", "uninstall.md"}

// shop is the namespace that the pages speak of.
const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: frontend, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frontend, namespace: shop}
spec:
  selector: {matchLabels: {app: frontend}}
  template:
    metadata: {labels: {app: frontend}}
    spec:
      serviceAccountName: frontend
      containers: [{name: app, image: "` + cluster.BaseImage + `", command: [/bin/app, serve]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: payments, namespace: shop}
spec:
  selector: {matchLabels: {app: payments}}
  template:
    metadata: {labels: {app: payments}}
    spec:
      containers: [{name: app, image: "` + cluster.BaseImage + `", command: [/bin/app, serve], readinessProbe: {httpGet: {port: 8080, path: /}}}]
---
apiVersion: v1
kind: Service
metadata: {name: payments, namespace: shop}
spec: {selector: {app: payments}, ports: [{port: 9000, targetPort: 8080, name: http}]}
`

var block = regexp.MustCompile("(?ms)^```sh([^\n]*)\n(.*?)^```$")

// TestPages runs every command of the user's pages, block by block, as a person would who reads them in order.
// It ends with Weft uninstalled.
func TestPages(t *testing.T) {
	e, err := harness.Open()
	if errors.Is(err, harness.ErrNoCluster) {
		t.Skip(err)
	}
	must(t, err)
	if e.Cluster == nil {
		t.Skip("the pages end with uninstalling Weft: not on a cluster that somebody else raised")
	}
	ctx := t.Context()
	must(t, e.InstallGatewayAPI(ctx, "standard"))
	must(t, e.Apply(ctx, shop))
	for _, d := range []string{"deployment/frontend", "deployment/payments"} {
		must(t, e.WaitRollout(ctx, "shop", d))
	}
	_ = os.Remove(reportFile)
	defer os.Remove(reportFile)
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(harness.Root(), "docs", page))
		must(t, err)
		blocks := block.FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no commands", page)
		}
		for _, b := range blocks {
			if strings.TrimSpace(b[1]) == "" && !t.Failed() { // what comes after builds on it
				run(t, e, page, b[2])
			}
		}
	}
	judgeReport(t)
	if t.Failed() {
		t.Log("evidence is in", e.KeepEvidence(t.Name()))
		return
	}
	pods, err := e.Pods(ctx, "shop", "frontend")
	must(t, err)
	if out, err := e.Exec(ctx, "shop", pods[0].Name, "app", "get", "http://payments:9000/"); err != nil {
		t.Errorf("after everything the pods do not talk: %v: %s", err, out)
	}
}

// run types one block into a shell that ends at the first command that fails.
func run(t *testing.T, e *harness.Env, page, script string) {
	t.Helper()
	first, _, _ := strings.Cut(script, "\n")
	t.Run(strings.TrimSuffix(page, ".md")+"/"+first, func(t *testing.T) {
		began := time.Now()
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
		cmd.Dir = harness.Root()
		path := []string{filepath.Join(harness.Root(), "build", "bin"), filepath.Dir(e.Cluster.Kubectl()), filepath.Dir(e.Cluster.Helm()), os.Getenv("PATH")}
		cmd.Env = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig, "PATH="+strings.Join(path, ":"))
		out, err := cmd.CombinedOutput()
		t.Logf("%s\n%s(%s)", script, out, time.Since(began).Round(time.Millisecond))
		if err != nil {
			t.Error(err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
