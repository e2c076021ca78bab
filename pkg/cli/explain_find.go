package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/pkg/model"
)

// endpoint is a pod and its port.
type endpoint struct {
	workload *model.Workload
	port     uint16
}

// target is what a connection goes to.
type target struct {
	service   *model.Service // nil when a pod or an address is meant
	port      uint16
	noPort    bool // the service does not have the port
	endpoints []endpoint
	said      string // how it was named
}

func (t target) text() string {
	switch {
	case t.service != nil:
		return fmt.Sprintf("service %s port %d", serviceName(t.service), t.port)
	case len(t.endpoints) > 0:
		return fmt.Sprintf("%s port %d", workloadText(t.endpoints[0].workload), t.port)
	}
	return fmt.Sprintf("%s port %d", t.said, t.port)
}

// name is the service or pod, without the port.
func (t target) name() string {
	if t.service != nil {
		return "service " + serviceName(t.service)
	}
	return workloadText(t.endpoints[0].workload)
}

// host is what a request's Host is unless said otherwise; not known for a pod.
func (t target) host() string {
	if t.service == nil {
		return ""
	}
	return t.service.Hostname
}

// plainTCP reports a port whose requests no waypoint reads.
func (t target) plainTCP() bool {
	if t.service == nil {
		return false
	}
	p, _ := t.service.Port(t.port)
	return p.App == model.AppTCP || p.App == model.AppTLS
}

func workloadName(w *model.Workload) string { return w.Namespace + "/" + w.Name }
func workloadText(w *model.Workload) string { return "pod " + workloadName(w) }
func serviceName(s *model.Service) string   { return s.Namespace + "/" + s.Name }
func firstAddr(w *model.Workload) netip.Addr {
	if len(w.Addresses) == 0 {
		return netip.Addr{}
	}
	return w.Addresses[0]
}

// findWorkload finds a pod by address, by namespace/name or name, or by the beginning of its name.
func findWorkload(snap *model.Snapshot, name string) (*model.Workload, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		for _, w := range snap.Workloads.All() {
			if slices.Contains(w.Addresses, addr) {
				return w, nil
			}
		}
		return nil, fmt.Errorf("no workload has address %s", addr)
	}
	namespace, short, ok := strings.Cut(name, "/")
	if !ok {
		namespace, short = "", name
	}
	var found []*model.Workload
	for _, w := range snap.Workloads.Sorted() {
		if namespace != "" && w.Namespace != namespace {
			continue
		}
		if w.Name == short {
			return w, nil
		}
		if w.OwnerName == short || strings.HasPrefix(w.Name, short+"-") {
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no workload %q (weftctl get workloads shows them)", name)
	}
	for _, w := range found {
		if w.Namespace != found[0].Namespace {
			return nil, fmt.Errorf("%q is ambiguous: %s and %s; say namespace/name", name, workloadName(found[0]), workloadName(w))
		}
	}
	return found[0], nil
}

// findTarget finds what is called: a service by name as the source would resolve it, a pod, or an address.
func findTarget(snap *model.Snapshot, src *model.Workload, name string) (target, error) {
	host, port, err := splitPort(name)
	if err != nil {
		return target{}, err
	}
	t := target{port: port, said: host}
	addr, addrErr := netip.ParseAddr(host)
	for _, s := range sorted(snap.Services) {
		if addrErr == nil && slices.Contains(s.Addresses, addr) || addrErr != nil && isNamed(s, src, host, snap.ClusterDomain) {
			t.service = s
			return t, t.resolve(snap)
		}
	}
	w, err := findWorkload(snap, host)
	switch {
	case err == nil && port == 0:
		return t, fmt.Errorf("%s is a pod: say which port, %s:PORT", workloadName(w), host)
	case err == nil:
		t.endpoints = []endpoint{{w, port}}
		return t, nil
	case addrErr == nil && port != 0:
		return t, nil // outside of what the mesh knows
	case addrErr == nil:
		return t, fmt.Errorf("%s is not in the mesh: say which port, %s:PORT", host, host)
	}
	return t, fmt.Errorf("neither a service nor a pod is called %q (weftctl get services shows them)", host)
}

// splitPort takes HOST, HOST:PORT, [V6]:PORT or a bare V6.
func splitPort(name string) (string, uint16, error) {
	if ap, err := netip.ParseAddrPort(name); err == nil {
		return ap.Addr().String(), ap.Port(), nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return name, 0, nil
	}
	host, text, ok := strings.Cut(name, ":")
	if !ok {
		return name, 0, nil
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		return "", 0, fmt.Errorf("%q: want NAME:PORT with a port of 1 to 65535", name)
	}
	return host, uint16(port), nil
}

// isNamed reports whether the source means the service by this name: namespace/name, or DNS with the search
// domains of the source's namespace.
func isNamed(s *model.Service, src *model.Workload, name, domain string) bool {
	if name == s.Namespace+"/"+s.Name || name == s.Hostname || name == s.Hostname+"." {
		return true
	}
	for _, search := range []string{src.Namespace + ".svc." + domain, "svc." + domain, domain} {
		if name+"."+search == s.Hostname {
			return true
		}
	}
	return false
}

// resolve fills in the port, when the service has only one, and the endpoints behind it.
func (t *target) resolve(snap *model.Snapshot) error {
	if t.port == 0 {
		if len(t.service.Ports) != 1 {
			return fmt.Errorf("service %s has ports %s: say which", serviceName(t.service), join(t.service.Ports, portText))
		}
		t.port = t.service.Ports[0].ServicePort
	}
	if _, ok := t.service.Port(t.port); !ok {
		t.noPort = true
		return nil
	}
	t.endpoints = serviceEndpoints(snap, t.service, t.port)
	return nil
}

// serviceEndpoints are the pods that take the service's connections now.
func serviceEndpoints(snap *model.Snapshot, s *model.Service, port uint16) []endpoint {
	var out []endpoint
	for _, w := range snap.Workloads.Sorted() {
		if w.Unhealthy && !s.PublishNotReady {
			continue
		}
		for _, p := range w.Services[s.Key()] {
			if p.ServicePort == port {
				out = append(out, endpoint{w, p.TargetPort})
			}
		}
	}
	return out
}
