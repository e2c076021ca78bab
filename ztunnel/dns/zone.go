package dns

import (
	"math/rand/v2"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/pkg/model"
)

// Names is what the mesh knows, by name. Host names are in lower case without the last dot.
type Names interface {
	// Synced reports that the first configuration has arrived; until then nothing is answered here.
	Synced() bool
	ServiceByHostname(host string) *model.Service
	Endpoints(serviceKey string) []*model.Workload
}

// DefaultTTL of answers from the mesh, in seconds: pods of headless services come and go.
const DefaultTTL = 5

// Zone decides answers. It does no I/O; its zero value knows nothing.
type Zone struct {
	// Names of the mesh. nil: none.
	Names Names
	// ClusterDomain is the suffix of service names, "cluster.local".
	ClusterDomain string
	// Authoritative answers NXDOMAIN for unknown names below svc.<ClusterDomain> instead of forwarding.
	Authoritative bool
	// TTL in seconds. 0: DefaultTTL.
	TTL uint32
}

// target is what a host name stands for.
type target struct {
	service *model.Service
	pod     *model.Workload // one pod of a headless service
	port    string          // SRV: port name, empty for all
	proto   string          // SRV: tcp or udp
}

// Answer builds the reply to q as a pod of namespace asks it, or nil when somebody else must answer.
func (z *Zone) Answer(q *dns.Msg, namespace string) *dns.Msg {
	if z.Names == nil || !z.Names.Synced() || len(q.Question) != 1 || q.Opcode != dns.OpcodeQuery {
		return nil
	}
	question := q.Question[0]
	if question.Qclass != dns.ClassINET {
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(question.Name, "."))
	t, ok := z.find(name, namespace)
	if !ok {
		if !z.Authoritative || !strings.HasSuffix("."+name, ".svc."+z.ClusterDomain) {
			return nil
		}
		return z.empty(q, dns.RcodeNameError)
	}
	if question.Qtype == dns.TypeSRV && t.port != "" && !knowsPortNames(t.service) {
		return nil // our wire format does not carry the names of ports: the cluster's DNS knows them
	}
	reply := z.reply(q)
	z.fill(reply, question, t, name)
	if len(reply.Answer) == 0 {
		reply.Ns = []dns.RR{z.soa()}
	}
	return reply
}

// find resolves a name, trying the short forms from the narrowest on.
func (z *Zone) find(name, namespace string) (target, bool) {
	var srv target
	if labels := strings.SplitN(name, ".", 3); len(labels) == 3 && strings.HasPrefix(labels[0], "_") && strings.HasPrefix(labels[1], "_") {
		srv.port, srv.proto, name = labels[0][1:], labels[1][1:], labels[2]
	}
	for _, full := range z.candidates(name, namespace) {
		if s := z.Names.ServiceByHostname(full); s != nil {
			srv.service = s
			return srv, true
		}
		if s, pod := z.podOf(full); pod != nil {
			srv.service, srv.pod = s, pod
			return srv, true
		}
	}
	return target{}, false
}

func knowsPortNames(s *model.Service) bool {
	for _, p := range s.Ports {
		if p.Name == "" {
			return false
		}
	}
	return true
}

// candidates are the full names that a short one may stand for.
func (z *Zone) candidates(name, namespace string) []string {
	out := []string{name}
	switch strings.Count(name, ".") {
	case 0:
		if namespace != "" {
			out = append(out, model.ServiceHostname(name, namespace, z.ClusterDomain))
		}
	case 1:
		out = append(out, name+".svc."+z.ClusterDomain)
	default:
		if strings.HasSuffix(name, ".svc") {
			out = append(out, name+"."+z.ClusterDomain)
		}
	}
	return out
}

// podOf finds <hostname>.<service name>: a pod of a headless service, by its hostname or dashed address.
func (z *Zone) podOf(name string) (*model.Service, *model.Workload) {
	host, rest, ok := strings.Cut(name, ".")
	if !ok {
		return nil, nil
	}
	s := z.Names.ServiceByHostname(rest)
	if s == nil || !s.Headless() {
		return nil, nil
	}
	for _, w := range z.Names.Endpoints(s.Key()) {
		if host == podLabel(w) || host == dashed(w) {
			return s, w
		}
	}
	return nil, nil
}

// podLabel is the first label of a pod's own name.
func podLabel(w *model.Workload) string {
	label, _, _ := strings.Cut(strings.ToLower(w.Hostname), ".")
	if label == "" {
		return dashed(w)
	}
	return label
}

func dashed(w *model.Workload) string {
	if len(w.Addresses) == 0 {
		return ""
	}
	return strings.NewReplacer(".", "-", ":", "-").Replace(w.Addresses[0].String())
}

// fill puts the records of t into reply.
func (z *Zone) fill(reply *dns.Msg, q dns.Question, t target, name string) {
	switch {
	case t.proto != "" && q.Qtype == dns.TypeSRV:
		z.srv(reply, q, t)
	case t.proto != "": // _http._tcp.x has SRV records only
	case q.Qtype == dns.TypeA, q.Qtype == dns.TypeAAAA:
		reply.Answer = z.addresses(q.Name, q.Qtype, z.addrsOf(t))
	case q.Qtype == dns.TypeSRV:
		t.proto = "tcp"
		z.srv(reply, q, t)
	}
}

// addrsOf are the addresses that a name stands for, shuffled where they are pods.
func (z *Zone) addrsOf(t target) []netip.Addr {
	switch {
	case t.pod != nil:
		return t.pod.Addresses
	case !t.service.Headless():
		return t.service.Addresses
	}
	var out []netip.Addr
	for _, w := range z.ready(t.service) {
		out = append(out, w.Addresses...)
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (z *Zone) ready(s *model.Service) []*model.Workload {
	var out []*model.Workload
	for _, w := range z.Names.Endpoints(s.Key()) {
		if !w.Unhealthy || s.PublishNotReady {
			out = append(out, w)
		}
	}
	return out
}
