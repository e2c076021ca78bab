package outbound

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/pkg/model"
)

// town is a fake of the index whose Pick takes the first healthy candidate.
type town struct {
	workloads []*model.Workload
	services  []*model.Service
	gone      map[string]string // by address
	ranges    []*model.Range
}

func (m *town) Gone(a netip.Addr) string { return m.gone[a.String()] }

func (m *town) RangeOf(a netip.Addr) *model.Range {
	for _, r := range m.ranges {
		if r.Holds(a) {
			return r
		}
	}
	return nil
}

func (m *town) ByAddress(a netip.Addr) *model.Workload {
	for _, w := range m.workloads {
		if hasAddress(w, a) {
			return w
		}
	}
	return nil
}

func (m *town) ServiceByVIP(a netip.Addr) *model.Service {
	for _, s := range m.services {
		for _, x := range s.Addresses {
			if x == a {
				return s
			}
		}
	}
	return nil
}

func (m *town) ServiceByHostname(h string) *model.Service {
	for _, s := range m.services {
		if s.Hostname == h {
			return s
		}
	}
	return nil
}

func (m *town) Endpoints(key string) (out []*model.Workload) {
	for _, w := range m.workloads {
		if _, ok := w.Services[key]; ok {
			out = append(out, w)
		}
	}
	return out
}

func (m *town) Pick(_ *model.Service, _ *model.Carriage, _ *model.Workload, candidates []*model.Workload) *model.Workload {
	for _, w := range candidates {
		if !w.Unhealthy {
			return w
		}
	}
	return nil
}

func (m *town) service(name, vips string, ports ...model.Port) *model.Service {
	s := &model.Service{Name: name, Namespace: "shop", Hostname: name + ".shop.svc.cluster.local", Ports: ports, Addresses: list(vips)}
	m.services = append(m.services, s)
	return s
}

func (m *town) pod(name, ips string, p model.Protocol, services ...*model.Service) *model.Workload {
	w := &model.Workload{UID: "c//Pod/shop/" + name, Name: name, Namespace: "shop", ServiceAccount: name[:strings.LastIndexByte(name, '-')],
		TrustDomain: "cluster.local", Addresses: list(ips), Protocol: p, Services: map[string][]model.Port{}}
	for _, s := range services {
		w.Services[s.Key()] = s.Ports
	}
	m.workloads = append(m.workloads, w)
	return w
}

func list(ips string) (out []netip.Addr) {
	for _, s := range strings.Fields(ips) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// text is a route in one line.
func text(r Route) string {
	s := ""
	switch r.Kind {
	case Plain:
		s = "plain " + r.Dial.String()
	case Hairpin:
		s = "hairpin " + r.Dial.String()
	case Tunnel:
		s = fmt.Sprintf("tunnel %s CONNECT %s expect %s", r.Dial, r.Authority, r.Expect.ServiceAccount)
	case Refuse:
		return "refuse " + string(r.Refusal.Flag) + ": " + r.Refusal.Cause
	}
	if r.Waypoint != nil {
		s += " via " + r.Waypoint.Name
	}
	if r.Service != nil {
		s += " for " + r.Service.Name
	}
	return s
}

func newTown() (*town, *model.Workload) {
	m := &town{}
	http := model.Port{ServicePort: 80, TargetPort: 8080}
	hbone := model.Port{ServicePort: 15008, TargetPort: 15008}
	waypoint := func(name string) *model.Gateway {
		return &model.Gateway{Namespace: "shop", Hostname: name + ".shop.svc.cluster.local", Port: 15008}
	}
	front := m.service("front", "10.96.0.1", http)
	cart := m.service("cart", "10.96.0.2 fd00:96::2", http)
	old := m.service("old", "10.96.0.3", http)
	empty := m.service("empty", "10.96.0.4", http)
	sick := m.service("sick", "10.96.0.5", http)
	l7 := m.service("l7", "10.96.0.6", http)
	l7.Waypoint = waypoint("way")
	lost := m.service("lost", "10.96.0.7", http)
	lost.Waypoint = waypoint("gone")
	byAddr := m.service("byaddr", "10.96.0.8", http)
	byAddr.Waypoint = &model.Gateway{Address: netip.MustParseAddr("10.96.0.20"), Port: 15008}
	db := m.service("db", "", http)
	way := m.service("way", "10.96.0.20", hbone)
	_ = empty
	client := m.pod("front-1", "10.244.1.1 fd00:244::1", model.HBONE, front)
	m.pod("cart-1", "10.244.1.2 fd00:244::2", model.HBONE, cart)
	m.pod("old-1", "10.244.1.3", model.Plain, old)
	m.pod("sick-1", "10.244.1.5", model.HBONE, sick).Unhealthy = true
	m.pod("l7-1", "10.244.1.6", model.HBONE, l7)
	m.pod("db-0", "10.244.1.9", model.HBONE, db)
	m.pod("lonely-1", "10.244.1.10", model.HBONE).Waypoint = waypoint("way")
	m.pod("astray-1", "10.244.1.11", model.HBONE).Waypoint = waypoint("gone")
	m.pod("way-1", "10.244.1.20", model.HBONE, way).NativeTunnel = true
	return m, client
}

func TestDecide(t *testing.T) {
	m, client := newTown()
	for _, c := range []struct{ dst, want string }{
		{"10.96.0.2:80", "tunnel 10.244.1.2:15008 CONNECT 10.244.1.2:8080 expect cart for cart"},
		{"[fd00:96::2]:80", "tunnel [fd00:244::2]:15008 CONNECT [fd00:244::2]:8080 expect cart for cart"},
		{"10.244.1.2:8080", "tunnel 10.244.1.2:15008 CONNECT 10.244.1.2:8080 expect cart for cart"},
		{"10.244.1.2:9999", "tunnel 10.244.1.2:15008 CONNECT 10.244.1.2:9999 expect cart"},
		{"10.96.0.2:81", "refuse NR: service cart.shop.svc.cluster.local has no port 81"},
		{"10.96.0.3:80", "plain 10.244.1.3:8080 for old"},
		{"10.244.1.3:22", "plain 10.244.1.3:22"},
		{"10.96.0.4:80", "refuse UH: service empty.shop.svc.cluster.local has no endpoints"},
		{"10.96.0.5:80", "refuse UH: none of the 1 endpoints of service sick.shop.svc.cluster.local is ready"},
		{"10.244.1.5:8080", "tunnel 10.244.1.5:15008 CONNECT 10.244.1.5:8080 expect sick for sick"},
		{"10.96.0.6:80", "tunnel 10.244.1.20:15008 CONNECT 10.96.0.6:80 expect way via way-1 for l7"},
		{"10.244.1.6:8080", "tunnel 10.244.1.6:15008 CONNECT 10.244.1.6:8080 expect l7 for l7"},
		{"10.96.0.7:80", "refuse NR: waypoint gone.shop.svc.cluster.local is missing"},
		{"10.96.0.8:80", "tunnel 10.244.1.20:15008 CONNECT 10.96.0.8:80 expect way via way-1 for byaddr"},
		{"10.244.1.9:8080", "tunnel 10.244.1.9:15008 CONNECT 10.244.1.9:8080 expect db for db"},
		{"10.244.1.10:1234", "tunnel 10.244.1.20:15008 CONNECT 10.244.1.10:1234 expect way via way-1"},
		{"10.244.1.11:1234", "refuse NR: waypoint gone.shop.svc.cluster.local is missing"},
		{"10.96.0.1:80", "hairpin 10.244.1.1:8080 for front"},
		{"192.0.2.1:443", "plain 192.0.2.1:443"},
		{"[2001:db8::1]:443", "plain [2001:db8::1]:443"},
	} {
		if got := text(Decide(m, client, netip.MustParseAddrPort(c.dst))); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.dst, got, c.want)
		}
	}
}

func TestWaypointWithoutReadyPodRefuses(t *testing.T) {
	m, client := newTown()
	for _, w := range m.workloads {
		if w.NativeTunnel {
			w.Unhealthy = true
		}
	}
	want := "refuse NR: waypoint way.shop.svc.cluster.local has no ready pod"
	for _, dst := range []string{"10.96.0.6:80", "10.244.1.10:1234"} {
		if got := text(Decide(m, client, netip.MustParseAddrPort(dst))); got != want {
			t.Errorf("%s: %s", dst, got)
		}
	}
}

func TestWaypointIsNotSentBackToItself(t *testing.T) {
	m, _ := newTown()
	way := m.ByAddress(netip.MustParseAddr("10.244.1.20"))
	for dst, want := range map[string]string{
		"10.96.0.6:80":     "tunnel 10.244.1.6:15008 CONNECT 10.244.1.6:8080 expect l7 for l7",
		"10.244.1.10:1234": "tunnel 10.244.1.10:15008 CONNECT 10.244.1.10:1234 expect lonely",
	} {
		if got := text(Decide(m, way, netip.MustParseAddrPort(dst))); got != want {
			t.Errorf("%s: %s", dst, got)
		}
	}
}

// An address that was the mesh's a moment ago is nobody's to send clear text to.
func TestGoneIsNotOutside(t *testing.T) {
	m, client := newTown()
	m.gone = map[string]string{"10.96.0.99": "service old.shop.svc.cluster.local", "10.96.0.2": "service before.shop.svc.cluster.local"}
	for dst, want := range map[string]string{
		"10.96.0.99:80": "refuse NR: service old.shop.svc.cluster.local, which had this address, is gone",
		"10.96.0.2:80":  "tunnel 10.244.1.2:15008 CONNECT 10.244.1.2:8080 expect cart for cart", // another's now
	} {
		if got := text(Decide(m, client, netip.MustParseAddrPort(dst))); got != want {
			t.Errorf("%s: %s", dst, got)
		}
	}
}

// An address that the cluster has given to somebody is not outside because nothing is known of it.
func TestUnknownIsNotOutside(t *testing.T) {
	m, client := newTown()
	for p, services := range map[string]bool{"10.244.1.0/24": false, "10.96.0.0/16": true, "fd00:244::/64": false} {
		m.ranges = append(m.ranges, &model.Range{Prefix: netip.MustParsePrefix(p), Services: services})
	}
	for dst, want := range map[string]string{
		"10.244.1.77:8080":    "refuse NR: nobody is known at 10.244.1.77, which is of the range of pods 10.244.1.0/24",
		"[fd00:244::77]:8080": "refuse NR: nobody is known at fd00:244::77, which is of the range of pods fd00:244::/64",
		"10.96.9.9:443":       "refuse NR: nobody is known at 10.96.9.9, which is of the range of Services 10.96.0.0/16",
		"10.244.1.3:22":       "plain 10.244.1.3:22", // known, and not in the mesh
		"192.0.2.1:443":       "plain 192.0.2.1:443",
	} {
		r := Decide(m, client, netip.MustParseAddrPort(dst))
		if got := text(r); got != want || r.Unknown != strings.HasPrefix(want, "refuse") {
			t.Errorf("%s: %s", dst, got)
		}
	}
	m.ranges = []*model.Range{{Prefix: netip.MustParsePrefix("10.244.9.0/24")}}
	if r := Decide(m, client, netip.MustParseAddrPort("10.244.9.1:10250")); r.Kind != Plain {
		t.Errorf("the node's own address on the bridge of its pods: %s", text(r))
	}
}

// A waypoint reference names a namespace: a service of that host name elsewhere is not it.
func TestWaypointOfAnotherNamespaceIsMissing(t *testing.T) {
	m, client := newTown()
	m.ServiceByVIP(netip.MustParseAddr("10.96.0.6")).Waypoint.Namespace = "other"
	if got := text(Decide(m, client, netip.MustParseAddrPort("10.96.0.6:80"))); !strings.HasPrefix(got, "refuse NR") {
		t.Error(got)
	}
}
