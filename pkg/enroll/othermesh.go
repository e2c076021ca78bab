package enroll

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// otherMesh names who else captures the pod's traffic, by what that one leaves on the object; "" if nobody.
func otherMesh(p *corev1.Pod) string {
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for _, c := range containers {
			if name, ok := sidecars[c.Name]; ok {
				return name
			}
		}
	}
	switch a := p.Annotations; {
	case a["sidecar.istio.io/status"] != "":
		return "Istio's sidecar"
	case a["ambient.istio.io/redirection"] == "enabled":
		return "Istio's ambient mode"
	case strings.EqualFold(a["consul.hashicorp.com/connect-inject-status"], "injected"):
		return "Consul"
	case cmp.Or(a["kuma.io/sidecar-injected"], "false") == "true":
		return "Kuma"
	case a["linkerd.io/proxy-version"] != "":
		return "Linkerd"
	}
	return ""
}

// sidecars are containers by which other meshes capture a pod.
var sidecars = map[string]string{
	"istio-proxy": "Istio's sidecar", "linkerd-proxy": "Linkerd", "kuma-sidecar": "Kuma", "consul-dataplane": "Consul",
}
