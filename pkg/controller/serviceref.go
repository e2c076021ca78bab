package controller

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/pkg/api"
	"github.com/weftmesh/weft/pkg/model"
)

const (
	reasonBackendNotFound = "BackendNotFound"
	reasonRefNotPermitted = "RefNotPermitted"
)

// meshService finds the service that a policy wants its waypoint to call. What is not there, or not allowed, is
// said in the policy's status under path.
func (c *compiler) meshService(p policyObject, path string, ref api.ServiceRef) (model.ServicePort, bool) {
	ns := ref.Namespace
	if ns == "" {
		ns = p.GetNamespace()
	}
	name := ns + "/" + ref.Name
	refuse := func(reason, what, next string) (model.ServicePort, bool) {
		st := c.status(p.kind, p, p.at)
		st.set(conditionAccepted, false, reason, "%s", what)
		st.fail(path, what, next)
		return model.ServicePort{}, false
	}
	if !c.granted.allow(p.kind, p.GetNamespace(), ns, ref.Name) {
		return refuse(reasonRefNotPermitted, fmt.Sprintf("Service %s is of another namespace, which does not allow it", name),
			fmt.Sprintf("make a ReferenceGrant in namespace %s from %s (group %s) of namespace %s to Service", ns, p.kind, api.Group, p.GetNamespace()))
	}
	info := c.services[name]
	if info == nil {
		return refuse(reasonBackendNotFound, "there is no Service "+name, "make it, or correct the name")
	}
	for _, port := range info.object.Spec.Ports {
		if port.Port == ref.Port && (port.Protocol == "" || port.Protocol == corev1.ProtocolTCP) {
			return model.ServicePort{Service: info.model.Key(), Port: uint16(ref.Port)}, true
		}
	}
	return refuse(reasonBackendNotFound, fmt.Sprintf("Service %s has no port %d", name, ref.Port), "correct the port")
}
