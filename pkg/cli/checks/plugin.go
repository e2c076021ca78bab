package checks

import (
	"fmt"
	"slices"
	"strings"
)

// plugins are network plugins by the names of their DaemonSets.
var plugins = map[string]string{
	"cilium": "Cilium", "calico-node": "Calico", "canal": "Canal", "kube-flannel-ds": "Flannel", "kube-flannel": "Flannel", "weave-net": "Weave Net",
	"antrea-agent": "Antrea", "kube-router": "kube-router", "aws-node": "AWS VPC CNI", "azure-cni": "Azure CNI", "kindnet": "kindnet",
	"netd": "GKE", "anetd": "GKE Dataplane V2", "ovnkube-node": "OVN-Kubernetes", "multus": "Multus", "kube-multus-ds": "Multus",
}

func networkPlugin(f *Facts) []Result {
	const name = "the network plugin goes together with Weft"
	if err := f.Errors["daemonsets"]; err != nil {
		return []Result{unknown(name, err)}
	}
	var found []string
	for _, d := range f.DaemonSets {
		if p := plugins[d.Name]; p != "" && !slices.Contains(found, p) {
			found = append(found, p)
		}
	}
	detail := "of a kind that weftctl does not know"
	if len(found) > 0 {
		detail = strings.Join(found, ", ")
	}
	out := []Result{ok(name, detail)}
	if cilium := f.Settings["kube-system/cilium-config"]; cilium != nil {
		out = append(out, ciliumSettings(cilium)...)
	}
	return out
}

// ciliumSettings are those that would work against Weft; docs/cni.md explains them.
func ciliumSettings(c map[string]string) []Result {
	var out []Result
	if c["cni-exclusive"] != "false" {
		out = append(out, fail("Cilium leaves other plugins in place", fmt.Sprintf("cni-exclusive is %q", c["cni-exclusive"]),
			"it takes Weft out of the nodes' plugin configuration: set cni.exclusive=false in Cilium's Helm values"))
	}
	if c["bpf-lb-sock"] == "true" || c["kube-proxy-replacement"] == "true" || c["kube-proxy-replacement"] == "strict" {
		if c["bpf-lb-sock-hostns-only"] != "true" {
			out = append(out, fail("Cilium leaves service addresses to the mesh", fmt.Sprintf("bpf-lb-sock-hostns-only is %q", c["bpf-lb-sock-hostns-only"]),
				"it chooses endpoints inside pods, before the mesh sees the service: set socketLB.hostNamespaceOnly=true in Cilium's Helm values"))
		}
	}
	if len(out) == 0 {
		out = append(out, ok("Cilium's settings leave room for a mesh", "cni-exclusive, bpf-lb-sock-hostns-only"))
	}
	return out
}
