package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// strip leaves symbols out: of these programs nobody reads a stack by hand, and they are read from disk at every start.
const strip = "-s -w"

// makeKube builds Kubernetes with the version that go.mod names, which clients and the scheduler's features ask for.
func makeKube(ctx context.Context, s *source, into string) error {
	mod, err := os.ReadFile(filepath.Join(s.dir, "modules/kube/go.mod"))
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`(?m)^\s*k8s\.io/kubernetes (v1\.(\d+)\.\d+)$`).FindSubmatch(mod)
	if m == nil {
		return fmt.Errorf("modules/kube/go.mod requires no k8s.io/kubernetes v1.x.y")
	}
	ld := strip
	for _, set := range []string{"gitVersion=" + string(m[1]), "gitMajor=1", "gitMinor=" + string(m[2]), "gitTreeState=clean", "gitCommit=" + strings.Repeat("0", 40)} {
		ld += " -X k8s.io/component-base/version." + set
	}
	if err := s.goBuild(ctx, "modules/kube", "-ldflags", ld, "-o", filepath.Join(into, "kube"), "."); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		if err := os.Symlink("kube", filepath.Join(into, name)); err != nil {
			return err
		}
	}
	return nil
}

func makeContainerd(ctx context.Context, s *source, into string) error {
	const commands, plugins = "github.com/containerd/containerd/v2/cmd/", "github.com/containernetworking/plugins/plugins/"
	err := s.goBuild(ctx, "modules/containerd", "-ldflags", strip, "-o", into+"/",
		commands+"containerd", commands+"containerd-shim-runc-v2", commands+"ctr")
	if err != nil {
		return err
	}
	cni := filepath.Join(into, "cni")
	if err := os.Mkdir(cni, 0o755); err != nil {
		return err
	}
	return s.goBuild(ctx, "modules/containerd", "-ldflags", strip, "-o", cni+"/",
		plugins+"main/bridge", plugins+"main/loopback", plugins+"main/ptp", plugins+"ipam/host-local", plugins+"meta/portmap")
}

func makeCoreDNS(ctx context.Context, s *source, into string) error {
	binary := filepath.Join(into, "coredns")
	if err := s.goBuild(ctx, "modules/coredns", "-ldflags", strip, "-o", binary, "."); err != nil {
		return err
	}
	return Archive{Ref: CoreDNSImage, Entrypoint: []string{"/bin/coredns"}, Files: map[string]string{"bin/coredns": binary}}.
		Write(filepath.Join(into, "coredns.tar"))
}

func makeHelm(ctx context.Context, s *source, into string) error {
	return s.goBuild(ctx, "modules/helm", "-ldflags", strip, "-o", into+"/", "helm.sh/helm/v4/cmd/helm")
}

// busyboxTools are the tools in the base image: enough to look around in a pod and for weftctl's docs.
var busyboxTools = []string{"sh", "cat", "env", "grep", "id", "ip", "ls", "nc", "nslookup", "ping", "ps", "sleep", "stat", "touch", "wget"}

func makeApp(ctx context.Context, s *source, into string) error {
	binary := filepath.Join(into, "app")
	if err := s.goBuild(ctx, "app", "-ldflags", strip, "-o", binary, "."); err != nil {
		return err
	}
	links := map[string]string{"pause": "/bin/app"}
	for _, tool := range busyboxTools {
		links["bin/"+tool] = "busybox"
	}
	return Archive{
		Ref: BaseImage, Entrypoint: []string{"/bin/app", "pause"},
		Files: map[string]string{"bin/app": binary, "bin/busybox": "/bin/busybox"}, Links: links,
	}.Write(filepath.Join(into, "base.tar"))
}
