package translate

import (
	"net/netip"
	"slices"
	"strconv"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/policy"
)

// kind is how a target's bytes are read.
type kind uint8

const (
	kindHTTP kind = iota
	kindTCP
	kindAuto // sniffed
	kindTLS  // TCP, led by the name that the client asks for
)

// A target is something that ztunnels address through this waypoint: a service port with all the
// service's addresses, or a port of one pod.
type target struct {
	name    string   // of its cluster and route configuration
	vips    []string // address:port, IPv6 in brackets; "address:*" for every other port of a pod
	kind    kind
	port    uint16 // service port, or the pod's
	app     model.AppProtocol
	service *model.Service // nil for a pod
	source  Source

	workload *model.Workload // nil for a service
	anyPort  bool            // every port of workload that no other target has

	limits   map[string]*model.Attachment // rate limits that this pod counts, by their keys
	enforced map[string]*anypb.Any        // on requests to the target itself

	tellsLimits bool // some of its routes tell callers what is left of their limits

	owners []Source // of the policies on requests, its routes' included
}

// clusterName names the cluster of a service port.
func clusterName(svc string, port uint16) string { return svc + ":" + strconv.Itoa(int(port)) }

// targets lists what this waypoint serves, services first, in a stable order.
func (b *builder) targets() []*target {
	var out []*target
	forServices := b.waypoint.For != "workload" && b.waypoint.For != "none"
	forWorkloads := b.waypoint.For == "workload" || b.waypoint.For == "all"
	for _, s := range sorted(b.snap.Services) {
		if !forServices || s.Headless() || !b.names(s.Waypoint) {
			continue
		}
		if why, bad := b.cfg.Refused[serviceSource(s)]; bad {
			b.problem(serviceSource(s), "not served, Envoy refuses it: %s", why)
			continue
		}
		for _, p := range s.Ports {
			out = append(out, b.serviceTarget(s, p))
		}
	}
	for _, w := range b.snap.Workloads.Sorted() {
		if !forWorkloads || !b.names(w.Waypoint) || w.NativeTunnel {
			continue
		}
		if why, bad := b.cfg.Refused[workloadSource(w)]; bad {
			b.problem(workloadSource(w), "not served, Envoy refuses it: %s", why)
			continue
		}
		out = append(out, b.workloadTargets(w)...)
	}
	b.claim(out)
	return out
}

// claim gives each address to the first target that has it: Envoy refuses a table with an address twice.
// Pods of one host network share theirs.
func (b *builder) claim(targets []*target) {
	owner := map[string]*target{}
	for _, t := range targets {
		t.vips = slices.DeleteFunc(t.vips, func(vip string) bool {
			first, taken := owner[vip]
			if taken {
				b.problem(t.source, "%s is not served for it: the address belongs to %s", vip, first.source)
				return true
			}
			owner[vip] = t
			return false
		})
	}
}

// names reports whether a reference means this waypoint.
func (b *builder) names(g *model.Gateway) bool {
	if g == nil {
		return false
	}
	if g.Hostname != "" {
		return g.Hostname == b.waypoint.Hostname && (g.Namespace == "" || g.Namespace == b.waypoint.Namespace)
	}
	for _, a := range b.waypoint.Addresses {
		if a == g.Address {
			return true
		}
	}
	return false
}

func (b *builder) serviceTarget(s *model.Service, p model.Port) *target {
	t := &target{
		name: clusterName(s.Key(), p.ServicePort), port: p.ServicePort, app: p.App,
		service: s, source: serviceSource(s), kind: b.serviceKind(s, p),
	}
	for _, a := range s.Addresses {
		t.vips = append(t.vips, hostPort(a, p.ServicePort))
	}
	return t
}

// serviceKind decides how a port is read. A port of unknown protocol that something of HTTP applies to is
// taken for HTTP: were it sniffed, whoever speaks anything else would pass by its policies.
func (b *builder) serviceKind(s *model.Service, p model.Port) kind {
	switch p.App {
	case model.AppHTTP, model.AppHTTP2, model.AppGRPC:
		return kindHTTP
	case model.AppTCP, model.AppTLS:
		return b.l4Kind(s, p.ServicePort)
	}
	if b.hasFault(s.Key(), p.ServicePort) || b.hasAuthentication(&target{service: s, port: p.ServicePort}) || b.hasHTTPPolicy(s.Key(), p.ServicePort) || asksOfLayers(b.serviceLayers(s.Key(), p.ServicePort)) {
		return kindHTTP
	}
	for _, r := range b.routes[s.Key()] {
		if r.Port == 0 || r.Port == p.ServicePort {
			return kindHTTP
		}
	}
	if b.hasL4Route(s, p.ServicePort, "TCPRoute") || b.hasL4Route(s, p.ServicePort, "TLSRoute") {
		return b.l4Kind(s, p.ServicePort)
	}
	return kindAuto
}

func (b *builder) hasFault(service string, port uint16) bool {
	return len(b.faults[model.Target{Service: service}])+len(b.faults[model.Target{Service: service, Port: port}]) > 0
}

func (b *builder) l4Kind(s *model.Service, port uint16) kind {
	if b.hasL4Route(s, port, "TLSRoute") {
		return kindTLS
	}
	return kindTCP
}

// workloadTargets are the ports that services give a pod, and one for all its other ports as TCP. The
// latter only for a pod in the mesh: a tunnel names the port for each connection, a plain endpoint cannot.
func (b *builder) workloadTargets(w *model.Workload) []*target {
	apps := map[uint16]model.AppProtocol{}
	var ports []uint16
	for _, key := range sortedKeys(w.Services) {
		for _, p := range w.Services[key] {
			app := p.App
			if svc := b.snap.Services[key]; app == model.AppUnknown && svc != nil {
				if sp, ok := svc.Port(p.ServicePort); ok {
					app = sp.App
				}
			}
			if _, seen := apps[p.TargetPort]; !seen {
				ports = append(ports, p.TargetPort)
			}
			if apps[p.TargetPort] == model.AppUnknown {
				apps[p.TargetPort] = app
			}
		}
	}
	var out []*target
	for _, port := range ports {
		t := &target{name: "workload/" + w.UID + ":" + strconv.Itoa(int(port)), port: port, app: apps[port], workload: w, source: workloadSource(w)}
		t.kind = b.workloadKind(w, apps[port], port)
		for _, a := range w.Addresses {
			t.vips = append(t.vips, hostPort(a, port))
		}
		out = append(out, t)
	}
	if w.Protocol == model.HBONE {
		t := &target{name: "workload/" + w.UID + ":*", kind: kindTCP, app: model.AppTCP, workload: w, source: workloadSource(w), anyPort: true}
		for _, a := range w.Addresses {
			t.vips = append(t.vips, hostAnyPort(a))
		}
		out = append(out, t)
	}
	return out
}

func (b *builder) workloadKind(w *model.Workload, app model.AppProtocol, port uint16) kind {
	switch app {
	case model.AppHTTP, model.AppHTTP2, model.AppGRPC:
		return kindHTTP
	case model.AppTCP, model.AppTLS:
		return kindTCP
	}
	if l, ok := policy.WorkloadLayer(b.snap, w.UID, port); b.hasHTTPPolicy("", port) || b.hasAuthentication(&target{workload: w, port: port}) || ok && asksOfLayers([]policy.Layer{l}) {
		return kindHTTP
	}
	return kindAuto
}

// service is the key of the target's service, empty for a pod.
func (t *target) serviceKey() string {
	if t.service == nil {
		return ""
	}
	return t.service.Key()
}

// hostPort writes an address as ztunnels send it in :authority.
func hostPort(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a.Unmap(), port).String() }

func hostAnyPort(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		return "[" + a.String() + "]:*"
	}
	return a.String() + ":*"
}
