package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// InstallGatewayAPI applies the Gateway API's own resources (standard or experimental) out of its module.
func (e *Env) InstallGatewayAPI(ctx context.Context, channel string) error {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api")
	cmd.Dir = Root()
	dir, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("finding the module of Gateway API: %w", err)
	}
	files := filepath.Join(strings.TrimSpace(string(dir)), "config/crd", channel)
	if _, err := e.Kubectl(ctx, "apply", "--server-side", "--force-conflicts", "-f", files); err != nil {
		return err
	}
	_, err = e.Kubectl(ctx, "wait", "--for=condition=Established", "--timeout=60s", "crd/gateways.gateway.networking.k8s.io", "crd/httproutes.gateway.networking.k8s.io")
	return err
}

// Install installs or upgrades Weft by its chart, with further arguments to helm, and waits until all of it is ready.
func (e *Env) Install(ctx context.Context, args ...string) error {
	all := []string{"upgrade", "--install", "weft", filepath.Join(Root(), "charts", "weft"),
		"--namespace", SystemNamespace, "--create-namespace"}
	for value, from := range map[string]string{"hub": "E2E_HUB", "tag": "E2E_TAG"} {
		if v := os.Getenv(from); v != "" {
			all = append(all, "--set", value+"="+v)
		}
	}
	if _, err := e.Helm(ctx, append(all, args...)...); err != nil {
		return err
	}
	return e.WaitInstalled(ctx)
}

// WaitInstalled returns when the programs of the release run in their newest version.
func (e *Env) WaitInstalled(ctx context.Context) error {
	for _, what := range []string{"deployment/weft-controller", "daemonset/weft-agent", "daemonset/weft-ztunnel"} {
		if err := e.WaitRollout(ctx, SystemNamespace, what); err != nil {
			return err
		}
	}
	return nil
}

// WaitRollout returns when a deployment or daemonset has rolled out.
func (e *Env) WaitRollout(ctx context.Context, namespace, what string) error {
	_, err := e.Kubectl(ctx, "-n", namespace, "rollout", "status", what, "--timeout=180s")
	return err
}

// Uninstall removes the release.
func (e *Env) Uninstall(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	_, err := e.Helm(ctx, "uninstall", "weft", "--namespace", SystemNamespace, "--wait", "--ignore-not-found")
	return err
}
