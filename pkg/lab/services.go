package lab

import (
	"net/netip"
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// forward is one virtual address and port, and where its connections go.
type forward struct {
	vip       netip.AddrPort
	protocol  corev1.Protocol
	endpoints []netip.AddrPort // of the vip's family
}

// forwards lists what a node proxy has to do for the services, in a fixed order.
func forwards(services []*corev1.Service, pods []*corev1.Pod) []forward {
	services = append([]*corev1.Service(nil), services...)
	sortByName(services)
	var all []forward
	for _, s := range services {
		for _, ip := range s.Spec.ClusterIPs {
			addr, err := netip.ParseAddr(ip)
			if err != nil {
				continue // None
			}
			for _, p := range s.Spec.Ports {
				all = append(all, forward{
					vip: netip.AddrPortFrom(addr, uint16(p.Port)), protocol: p.Protocol,
					endpoints: endpoints(s, p, pods, addr.Is4()),
				})
			}
		}
	}
	return all
}

// endpoints are the ready pods behind one service port.
func endpoints(s *corev1.Service, port corev1.ServicePort, pods []*corev1.Pod, v4 bool) []netip.AddrPort {
	var all []netip.AddrPort
	for _, p := range pods {
		if !selects(s, p) || !isReady(p) && !s.Spec.PublishNotReadyAddresses {
			continue
		}
		target := targetPort(p, port)
		for _, ip := range p.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil && a.Is4() == v4 && target != 0 {
				all = append(all, netip.AddrPortFrom(a, target))
			}
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Compare(all[j]) < 0 })
	return all
}

func selects(s *corev1.Service, p *corev1.Pod) bool {
	if s.Namespace != p.Namespace || len(s.Spec.Selector) == 0 {
		return false
	}
	for k, v := range s.Spec.Selector {
		if p.Labels[k] != v {
			return false
		}
	}
	return true
}

// targetPort is the pod's port behind a service port; 0 when the pod has no port of that name.
func targetPort(p *corev1.Pod, port corev1.ServicePort) uint16 {
	name := port.TargetPort.StrVal
	if name == "" {
		if port.TargetPort.IntVal != 0 {
			return uint16(port.TargetPort.IntVal)
		}
		return uint16(port.Port)
	}
	for _, c := range p.Spec.Containers {
		for _, cp := range c.Ports {
			if cp.Name == name {
				return uint16(cp.ContainerPort)
			}
		}
	}
	return 0
}
