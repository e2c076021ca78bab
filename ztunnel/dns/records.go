package dns

import (
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/pkg/model"
)

func (z *Zone) ttl() uint32 {
	if z.TTL == 0 {
		return DefaultTTL
	}
	return z.TTL
}

func (z *Zone) header(name string, typ uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: typ, Class: dns.ClassINET, Ttl: z.ttl()}
}

// reply starts an authoritative answer to q.
func (z *Zone) reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	m.Authoritative = true
	m.RecursionAvailable = q.RecursionDesired
	return m
}

func (z *Zone) empty(q *dns.Msg, rcode int) *dns.Msg {
	m := z.reply(q)
	m.Rcode = rcode
	m.Ns = []dns.RR{z.soa()}
	return m
}

// soa tells resolvers how long they may remember that there is nothing.
func (z *Zone) soa() dns.RR {
	zone := dns.Fqdn("svc." + z.ClusterDomain)
	return &dns.SOA{Hdr: z.header(zone, dns.TypeSOA), Ns: "ns." + zone, Mbox: "hostmaster." + zone,
		Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: z.ttl()}
}

func (z *Zone) addresses(name string, typ uint16, addrs []netip.Addr) []dns.RR {
	var out []dns.RR
	for _, a := range addrs {
		a = a.Unmap()
		switch {
		case typ == dns.TypeA && a.Is4():
			out = append(out, &dns.A{Hdr: z.header(name, typ), A: a.AsSlice()})
		case typ == dns.TypeAAAA && a.Is6():
			out = append(out, &dns.AAAA{Hdr: z.header(name, typ), AAAA: a.AsSlice()})
		}
	}
	return out
}

// srv answers with the service itself, or with every pod of a headless one, and their addresses.
func (z *Zone) srv(reply *dns.Msg, q dns.Question, t target) {
	if t.proto != "tcp" {
		return
	}
	for _, p := range t.service.Ports {
		if t.port != "" && !strings.EqualFold(t.port, p.Name) {
			continue
		}
		switch {
		case t.pod != nil:
			z.srvPod(reply, q.Name, t.service, t.pod, p)
		case t.service.Headless():
			for _, w := range z.ready(t.service) {
				z.srvPod(reply, q.Name, t.service, w, p)
			}
		default:
			z.srvRecord(reply, q.Name, dns.Fqdn(t.service.Hostname), p.ServicePort, t.service.Addresses)
		}
	}
}

func (z *Zone) srvPod(reply *dns.Msg, name string, s *model.Service, w *model.Workload, p model.Port) {
	port := p.TargetPort
	for _, wp := range w.Services[s.Key()] {
		if wp.ServicePort == p.ServicePort {
			port = wp.TargetPort
		}
	}
	if port == 0 {
		port = p.ServicePort
	}
	z.srvRecord(reply, name, dns.Fqdn(podLabel(w)+"."+s.Hostname), port, w.Addresses)
}

func (z *Zone) srvRecord(reply *dns.Msg, name, host string, port uint16, addrs []netip.Addr) {
	reply.Answer = append(reply.Answer, &dns.SRV{Hdr: z.header(name, dns.TypeSRV), Weight: 100, Port: port, Target: host})
	for _, rr := range reply.Extra {
		if rr.Header().Name == host {
			return
		}
	}
	reply.Extra = append(reply.Extra, z.addresses(host, dns.TypeA, addrs)...)
	reply.Extra = append(reply.Extra, z.addresses(host, dns.TypeAAAA, addrs)...)
}

// maxUDP is the largest answer over UDP whatever a client offers: what surely passes unfragmented.
const maxUDP = 1232

// fit mirrors EDNS and cuts a reply to what the client takes over UDP.
func fit(q, reply *dns.Msg) {
	size := dns.MinMsgSize
	if opt := q.IsEdns0(); opt != nil {
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
		if reply.IsEdns0() == nil {
			reply.SetEdns0(maxUDP, opt.Do())
		}
		if opt.Version() != 0 {
			reply.Answer, reply.Ns = nil, nil
			reply.Rcode = dns.RcodeBadVers
		}
	}
	reply.Truncate(size)
}
