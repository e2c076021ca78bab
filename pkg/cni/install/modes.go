package install

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/cni"
)

// Modes is what the plugin has to know of namespaces while the agent is away. Pods may be those of one node.
func Modes(namespaces []*corev1.Namespace, pods []*corev1.Pod) map[string]cni.Mode {
	modes := make(map[string]cni.Mode, len(namespaces))
	for _, n := range namespaces {
		modes[n.Name] = cni.Plain
		if n.Labels[api.LabelMode] == api.ModeAmbient {
			modes[n.Name] = cni.Enrolled
		}
	}
	for _, p := range pods {
		if p.Labels[api.LabelMode] == api.ModeAmbient && modes[p.Namespace] == cni.Plain {
			modes[p.Namespace] = cni.Mixed
		}
	}
	return modes
}
