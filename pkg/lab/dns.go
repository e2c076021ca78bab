package lab

import (
	"net"
	"net/netip"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// dnsTTL in seconds: short, services come and go.
const dnsTTL = 5

// zone answers for the cluster's domain from services and pods. It is immutable.
type zone struct {
	hosts map[string][]netip.Addr // by lower-case name with a final dot
	srv   map[string][]*dns.SRV
	cname map[string]string
}

// newZone makes the records of all services: A and AAAA for the virtual addresses, or for every ready pod
// of a headless service; SRV for named ports; CNAME for external names.
func newZone(services []*corev1.Service, pods []*corev1.Pod) *zone {
	z := &zone{hosts: map[string][]netip.Addr{}, srv: map[string][]*dns.SRV{}, cname: map[string]string{}}
	for _, s := range services {
		name := s.Name + "." + s.Namespace + ".svc." + ClusterDomain + "."
		if s.Spec.Type == corev1.ServiceTypeExternalName {
			z.cname[name] = dns.Fqdn(s.Spec.ExternalName)
			continue
		}
		z.hosts[name] = []netip.Addr{} // the name exists, even without addresses
		for _, ip := range s.Spec.ClusterIPs {
			if a, err := netip.ParseAddr(ip); err == nil {
				z.hosts[name] = append(z.hosts[name], a)
			}
		}
		if s.Spec.ClusterIP == corev1.ClusterIPNone {
			z.headless(name, s, pods)
			continue
		}
		for _, p := range s.Spec.Ports {
			z.addSRV(name, p, name, uint16(p.Port))
		}
	}
	return z
}

// withController adds the name that a cluster would give the mesh's controller; in a lab it runs on the
// first node.
func (z *zone) withController() *zone {
	n := netOf(1)
	z.hosts[ControllerHost+"."] = []netip.Addr{n.ip4, n.ip6}
	return z
}

func (z *zone) headless(name string, s *corev1.Service, pods []*corev1.Pod) {
	for _, p := range pods {
		if !selects(s, p) || !isReady(p) && !s.Spec.PublishNotReadyAddresses {
			continue
		}
		host := strings.ToLower(p.Name) + "." + name
		for _, ip := range p.Status.PodIPs {
			if a, err := netip.ParseAddr(ip.IP); err == nil {
				z.hosts[name] = append(z.hosts[name], a)
				z.hosts[host] = append(z.hosts[host], a)
			}
		}
		for _, port := range s.Spec.Ports {
			z.addSRV(name, port, host, targetPort(p, port))
		}
	}
}

func (z *zone) addSRV(service string, p corev1.ServicePort, target string, port uint16) {
	if p.Name == "" {
		return
	}
	name := "_" + p.Name + "._" + strings.ToLower(string(p.Protocol)) + "." + service
	z.srv[name] = append(z.srv[name], &dns.SRV{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSRV, Class: dns.ClassINET, Ttl: dnsTTL}, Weight: 100, Port: port, Target: target,
	})
}

// answer replies to one query. Names outside of the cluster's domain do not exist: a lab has no way out.
func (z *zone) answer(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m
	}
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	if target, ok := z.cname[name]; ok {
		m.Answer = append(m.Answer, &dns.CNAME{Hdr: header(question.Name, dns.TypeCNAME), Target: target})
		return m
	}
	addrs, known := z.hosts[name]
	srv, knownSRV := z.srv[name]
	if !known && !knownSRV {
		m.Rcode = dns.RcodeNameError
		return m
	}
	for _, a := range addrs {
		switch {
		case question.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: header(question.Name, dns.TypeA), A: net.IP(a.AsSlice())})
		case question.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(question.Name, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())})
		}
	}
	if question.Qtype == dns.TypeSRV {
		for _, s := range srv {
			m.Answer = append(m.Answer, s)
		}
	}
	return m
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: dnsTTL}
}
