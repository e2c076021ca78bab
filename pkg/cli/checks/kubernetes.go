package checks

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilversion "k8s.io/apimachinery/pkg/util/version"
)

// Versions that are needed.
const (
	minKubernetes = "1.30.0"
	minGateway    = "1.2.0"
	minKernel     = "6.6"
)

func kubernetes(f *Facts) []Result {
	const name = "Kubernetes is new enough"
	have, err := utilversion.ParseGeneric(f.Version.GitVersion)
	if err != nil {
		return []Result{warn(name, "it calls itself "+f.Version.GitVersion, "it has to be "+minKubernetes+" or later")}
	}
	if have.LessThan(utilversion.MustParseGeneric(minKubernetes)) {
		return []Result{fail(name, f.Version.GitVersion, "upgrade the cluster to "+minKubernetes+" or later")}
	}
	return []Result{ok(name, f.Version.GitVersion)}
}

// gatewayCRDs are those that the controller reads.
var gatewayCRDs = []string{
	"gatewayclasses.gateway.networking.k8s.io", "gateways.gateway.networking.k8s.io", "httproutes.gateway.networking.k8s.io",
	"grpcroutes.gateway.networking.k8s.io", "referencegrants.gateway.networking.k8s.io",
}

const gatewayHint = "waypoints and routes need them: kubectl apply --server-side -f https://github.com/kubernetes-sigs/gateway-api/releases/download/v1.6.3/standard-install.yaml"

func gatewayAPI(f *Facts) []Result {
	const name = "the Gateway API is installed"
	if err := f.Errors["customresourcedefinitions"]; err != nil {
		return []Result{unknown(name, err)}
	}
	var missing []string
	bundle, channel := "", ""
	for _, crd := range gatewayCRDs {
		u := f.CRDs[crd]
		if u == nil {
			missing = append(missing, crd)
			continue
		}
		bundle, channel = u.GetAnnotations()["gateway.networking.k8s.io/bundle-version"], u.GetAnnotations()["gateway.networking.k8s.io/channel"]
	}
	switch v, err := utilversion.ParseGeneric(bundle); {
	case len(missing) == len(gatewayCRDs):
		return []Result{warn(name, "none of its kinds is known", gatewayHint)}
	case len(missing) > 0:
		return []Result{fail(name, "missing: "+strings.Join(missing, ", "), "install all of one version; "+gatewayHint)}
	case err != nil:
		return []Result{warn(name, fmt.Sprintf("of unknown version %q", bundle), "use a release of it, "+minGateway+" or later")}
	case v.LessThan(utilversion.MustParseGeneric(minGateway)):
		return []Result{fail(name, bundle, "upgrade it to "+minGateway+" or later; "+gatewayHint)}
	}
	if channel == "standard" {
		bundle += ", standard channel: without retry and sessionPersistence of routes"
	}
	return []Result{ok(name, bundle)}
}

func nodes(f *Facts) []Result {
	if err := f.Errors["nodes"]; err != nil {
		return []Result{unknown("nodes are Linux "+minKernel+" or later", err)}
	}
	var old, foreign, down []string
	linux := 0
	for _, n := range f.Nodes {
		info := n.Status.NodeInfo
		if info.OperatingSystem != "" && info.OperatingSystem != "linux" {
			foreign = append(foreign, n.Name)
			continue
		}
		linux++
		if !kernelAtLeast(info.KernelVersion, minKernel) {
			old = append(old, n.Name+" ("+info.KernelVersion+")")
		}
		if !nodeReady(n) {
			down = append(down, n.Name)
		}
	}
	out := []Result{ok("nodes run Linux "+minKernel+" or later", count(linux, "node"))}
	if len(old) > 0 {
		out[0] = fail(out[0].Name, "too old: "+some(old), "their pods cannot be captured: upgrade these nodes, or keep the mesh's pods off them; docs/kernels.md")
	}
	if len(foreign) > 0 {
		out = append(out, warn("all nodes run Linux", some(foreign), "pods there stay outside the mesh"))
	}
	if len(down) > 0 {
		out = append(out, warn("nodes are ready", "not ready: "+some(down), "kubectl describe node "+down[0]))
	} else {
		out = append(out, ok("nodes are ready", count(len(f.Nodes), "node")))
	}
	return out
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// kernelAtLeast compares the first two numbers of versions.
func kernelAtLeast(have, want string) bool {
	a, b := leading(have), leading(want)
	return a[0] > b[0] || a[0] == b[0] && a[1] >= b[1]
}

func leading(v string) [2]int {
	var out [2]int
	parts := strings.SplitN(v, ".", 3)
	for i := range min(2, len(parts)) {
		digits := strings.IndexFunc(parts[i], func(r rune) bool { return r < '0' || r > '9' })
		if digits < 0 {
			digits = len(parts[i])
		}
		out[i], _ = strconv.Atoi(parts[i][:digits])
	}
	return out
}

// some lists names, at most five.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// count writes a number of things.
func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "y"):
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(what, "y"))
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func cut(key string) (namespace, name string, found bool) { return strings.Cut(key, "/") }
