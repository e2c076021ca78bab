package lab

import (
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// announcement is where a node's agent says what became of a pod: {"redirection": "enabled"}.
func (l Layout) announcement(namespace, name string) string {
	return filepath.Join(l.StatusDir(), "pods", namespace+"_"+name+".json")
}

// Enrolled reports whether the node's agent has announced the pod as captured.
func Enrolled(l Layout, p *corev1.Pod) bool {
	var said struct{ Redirection string }
	return readJSON(l.announcement(p.Namespace, p.Name), &said) == nil && said.Redirection == api.RedirectionEnabled
}

// forgetAnnouncement removes what was said of an earlier pod of the same name.
func (r *podRuntime) forgetAnnouncement() error {
	return ignoreMissing(os.Remove(r.k.Layout.announcement(r.pod.Namespace, r.pod.Name)))
}
