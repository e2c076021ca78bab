package enroll

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probePorts are the ports of the pod that its spec has the kubelet connect to, sorted: by probes and lifecycle
// hooks of all containers. A probe that names a host goes there and not to the pod.
func probePorts(p *corev1.Pod) []uint16 {
	var ports []uint16
	for _, containers := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range containers {
			ports = append(ports, containerProbes(&containers[i])...)
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func containerProbes(c *corev1.Container) (ports []uint16) {
	add := func(host string, port intstr.IntOrString) {
		if n := portOf(c, port); host == "" && n != 0 {
			ports = append(ports, n)
		}
	}
	handler := func(get *corev1.HTTPGetAction, tcp *corev1.TCPSocketAction) {
		if get != nil {
			add(get.Host, get.Port)
		}
		if tcp != nil {
			add(tcp.Host, tcp.Port)
		}
	}
	for _, p := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
		if p == nil {
			continue
		}
		handler(p.HTTPGet, p.TCPSocket)
		if p.GRPC != nil {
			add("", intstr.FromInt32(p.GRPC.Port))
		}
	}
	if c.Lifecycle == nil {
		return ports
	}
	for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
		if h != nil {
			handler(h.HTTPGet, h.TCPSocket)
		}
	}
	return ports
}

// portOf resolves a name by the container's own list, as kubelet does. 0: none.
func portOf(c *corev1.Container, port intstr.IntOrString) uint16 {
	n := port.IntVal
	if port.Type == intstr.String {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				n = p.ContainerPort
			}
		}
	}
	if n < 1 || n > 65535 {
		return 0
	}
	return uint16(n)
}
