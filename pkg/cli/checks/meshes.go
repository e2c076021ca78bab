package checks

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cli/cluster"
)

func otherMeshes(f *Facts) []Result {
	out := slices.Concat(secondWeft(f), istio(f), linkerd(f), ciliumMesh(f))
	if len(out) == 0 {
		return []Result{ok("no other mesh captures the same traffic", "")}
	}
	return out
}

// secondWeft: two controllers in two namespaces would both own the same kinds.
func secondWeft(f *Facts) []Result {
	var where []string
	for _, d := range f.Deployments {
		if d.Name == cluster.Controller && d.Namespace != api.SystemNamespace {
			where = append(where, d.Namespace)
		}
	}
	if len(where) == 0 {
		return nil
	}
	return []Result{fail("there is one Weft", "another runs in "+some(where), "uninstall it: helm uninstall weft -n "+where[0])}
}

func istio(f *Facts) []Result {
	running := slices.ContainsFunc(f.Deployments, func(d deployment) bool { return d.Name == "istiod" || strings.HasPrefix(d.Name, "istiod-") })
	ambient := slices.ContainsFunc(f.DaemonSets, func(d daemonSet) bool { return d.Name == "ztunnel" || d.Name == "istio-cni-node" })
	if !running && !ambient {
		return nil
	}
	var both []string
	for _, n := range f.Namespaces {
		if n.Labels[api.LabelMode] == api.ModeAmbient && (n.Labels["istio.io/dataplane-mode"] == "ambient" || n.Labels["istio-injection"] == "enabled" || n.Labels["istio.io/rev"] != "") {
			both = append(both, n.Name)
		}
	}
	if len(both) > 0 {
		return []Result{fail("no namespace is in two meshes", "in Istio's as well: "+some(both), "take one off: weftctl enroll "+both[0]+" --remove, or kubectl label namespace "+both[0]+" istio.io/dataplane-mode- istio-injection- istio.io/rev-")}
	}
	return []Result{warn("Weft is the only mesh", "Istio runs too", "they may share the cluster, but not a namespace: pods of one cannot prove to the other who they are")}
}

func linkerd(f *Facts) []Result {
	if !slices.ContainsFunc(f.Deployments, func(d deployment) bool { return d.Name == "linkerd-destination" }) {
		return nil
	}
	var both []string
	for _, n := range f.Namespaces {
		if n.Labels[api.LabelMode] == api.ModeAmbient && n.Annotations["linkerd.io/inject"] == "enabled" {
			both = append(both, n.Name)
		}
	}
	if len(both) > 0 {
		return []Result{fail("no namespace is in two meshes", "in Linkerd's as well: "+some(both), "take one off: weftctl enroll "+both[0]+" --remove, or kubectl annotate namespace "+both[0]+" linkerd.io/inject- and restart its pods")}
	}
	return []Result{warn("Weft is the only mesh", "Linkerd runs too", "they may share the cluster, but not a namespace")}
}

func ciliumMesh(f *Facts) []Result {
	c := f.Settings["kube-system/cilium-config"]
	var on []string
	for _, setting := range []string{"enable-ztunnel", "enable-gateway-api", "mesh-auth-enabled", "enable-envoy-config"} {
		if c[setting] == "true" {
			on = append(on, setting)
		}
	}
	if len(on) == 0 {
		return nil
	}
	level := Warning
	if slices.Contains(on, "enable-ztunnel") {
		level = Failed
	}
	return []Result{{Name: "Cilium's own mesh is off", Level: level, Detail: strings.Join(on, ", "),
		Hint: "traffic of enrolled pods is encrypted before Cilium could look into it: its L7 policies and its mutual authentication do not apply to them"}}
}

// hints of pods that the mesh cannot hold as it would like to.
func podHints(p *corev1.Pod) string {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		sc := c.SecurityContext
		if sc == nil {
			continue
		}
		if sc.Privileged != nil && *sc.Privileged {
			return "privileged"
		}
		if sc.Capabilities != nil && slices.ContainsFunc(sc.Capabilities.Add, func(c corev1.Capability) bool { return c == "NET_ADMIN" || c == "ALL" }) {
			return "NET_ADMIN"
		}
	}
	return ""
}

type (
	deployment = *appsv1.Deployment
	daemonSet  = *appsv1.DaemonSet
)
