package lab

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// vips remembers which service has which virtual addresses: the part of the API server that manifests
// without clusterIP lean on. An address is given by the service's name, so that it is the same in every
// lab unless two names meet.
type vips struct {
	given map[string][2]netip.Addr // by namespace/name
	taken map[netip.Addr]string
}

func newVIPs() *vips {
	return &vips{given: map[string][2]netip.Addr{}, taken: map[netip.Addr]string{DNSAddress: "DNS"}}
}

// assign returns the service as the API server would hand it out: with cluster IPs of both families.
// Headless and ExternalName services stay as they are. The argument is not changed.
func (v *vips) assign(in *corev1.Service) (*corev1.Service, error) {
	s := in.DeepCopy()
	if s.Spec.Type == "" {
		s.Spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort.StrVal == "" && p.TargetPort.IntVal == 0 {
			p.TargetPort.IntVal = p.Port
		}
	}
	if s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.Type == corev1.ServiceTypeExternalName {
		return s, nil
	}
	if s.Spec.ClusterIP != "" { // the manifest says it
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
		}
		return s, nil
	}
	pair, err := v.pair(s.Namespace + "/" + s.Name)
	if err != nil {
		return nil, err
	}
	s.Spec.ClusterIP = pair[0].String()
	s.Spec.ClusterIPs = []string{pair[0].String(), pair[1].String()}
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	return s, nil
}

func (v *vips) pair(key string) ([2]netip.Addr, error) {
	if p, ok := v.given[key]; ok {
		return p, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(key))
	for try := range uint32(65536) {
		n := (h.Sum32() + try) % 65536
		if n < 256 || n%256 == 0 || n%256 == 255 { // the first 256 stay free for addresses chosen by people
			continue
		}
		a4, a6 := serviceCIDR4.Addr().As4(), serviceCIDR6.Addr().As16()
		a4[2], a4[3] = byte(n>>8), byte(n)
		a6[14], a6[15] = byte(n>>8), byte(n)
		p := [2]netip.Addr{netip.AddrFrom4(a4), netip.AddrFrom16(a6)}
		if v.taken[p[0]] == "" {
			v.taken[p[0]], v.given[key] = key, p
			return p, nil
		}
	}
	return [2]netip.Addr{}, fmt.Errorf("service %s: no virtual address left in %s", key, serviceCIDR4)
}

// forget frees the addresses of services that are gone.
func (v *vips) forget(keep map[string]bool) {
	for key, p := range v.given {
		if !keep[key] {
			delete(v.taken, p[0])
			delete(v.given, key)
		}
	}
}
