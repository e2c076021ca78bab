package enroll

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
)

// Direct tells whether pods of a namespace may talk directly to others of their node: by its label, or as for the
// whole mesh. While the namespace is not known they may not, and neither under a value that is unknown.
func Direct(ns *corev1.Namespace, mesh bool) bool {
	if ns == nil {
		return false
	}
	switch v, ok := ns.Labels[api.LabelSameNode]; {
	case !ok:
		return mesh
	default:
		return v == api.SameNodeDirect
	}
}
