package outbound

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/index"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/telemetry"
	"github.com/weftmesh/weft/ztunnel/flow"
)

// Mesh is what routing needs to know. A *state.State is one.
type Mesh interface {
	ByAddress(netip.Addr) *model.Workload
	ServiceByVIP(netip.Addr) *model.Service
	ServiceByHostname(string) *model.Service
	// Gone names the pod of the mesh, or the service, that had an address until lately, or "".
	Gone(netip.Addr) string
	// RangeOf finds the range of pods or Services that an address is of, nil if none.
	RangeOf(netip.Addr) *model.Range
	Endpoints(serviceKey string) []*model.Workload
	// Pick chooses one of candidates for a client: healthy, near, then as how says, which may be nil. nil: none will do.
	Pick(s *model.Service, how *model.Carriage, client *model.Workload, candidates []*model.Workload) *model.Workload
}

// Kind of a route.
type Kind uint8

// Kinds.
const (
	Refuse  Kind = iota // see Route.Refusal
	Plain               // TCP as it is, from the pod's namespace
	Tunnel              // HBONE to Route.Dial
	Hairpin             // the pod's own application
)

// Route is where a connection goes.
type Route struct {
	Kind      Kind
	Dial      netip.AddrPort    // address to connect to: the tunnel's end or the destination
	Authority netip.AddrPort    // Tunnel: CONNECT target
	Expect    identity.Identity // Tunnel: who must be at the other end
	Dest      *model.Workload   // destination, nil when unknown or chosen by a waypoint
	Service   *model.Service    // service dialled, nil without
	Waypoint  *model.Workload   // waypoint's pod that the tunnel ends at, nil without
	Others    bool              // other healthy ones could take its place
	Faults    []model.ConnFault // of the service, whose first that concerns the caller counts
	Carriage  *model.Carriage   // how connections to this port of the service are carried; nil: nothing is said
	Refusal   *flow.Failure
	Unknown   bool // refused because nothing is known of an address that the cluster gave to somebody
}

// Plainly reports that the route leads through a tunnel to a pod, and that nothing is to be done on the way that the
// kernel could not do.
func (r Route) Plainly() bool {
	return r.Kind == Tunnel && r.Waypoint == nil && r.Dest != nil && len(r.Faults) == 0 && r.Carriage == nil
}

// End is an endpoint of a service, at its address.
type End struct {
	Workload *model.Workload
	At       netip.AddrPort
}

// Spread are the endpoints among which a client's connections to a service are spread evenly; none where dst is not
// a service's, or something else is to be done about connections to it than to choose one of them.
func Spread(m Mesh, client *model.Workload, dst netip.AddrPort) (ends []End) {
	s := m.ServiceByVIP(dst.Addr())
	if s == nil || s.Waypoint != nil || len(s.Faults) > 0 || s.Carried(dst.Port()) != nil {
		return nil
	}
	if _, ok := s.Port(dst.Port()); !ok {
		return nil
	}
	for _, w := range index.Best(s, client, having(m.Endpoints(s.Key()), s, dst.Port())) {
		ends = append(ends, End{w, endpointAddr(w, dst.Addr(), targetPort(w, s, dst.Port()))})
	}
	return ends
}

// Decide is the whole of outbound routing, without I/O: a connection of client to dst.
func Decide(m Mesh, client *model.Workload, dst netip.AddrPort) Route {
	if s := m.ServiceByVIP(dst.Addr()); s != nil {
		return toService(m, client, s, dst)
	}
	if w := m.ByAddress(dst.Addr()); w != nil {
		return toWorkload(m, client, w, dst)
	}
	if who := m.Gone(dst.Addr()); who != "" {
		return refuse(Route{}, telemetry.FlagNoRoute, who+", which had this address, is gone",
			"a client that resolves its name again gets what is there now; an address of the mesh is never sent to in clear text for a while")
	}
	if r := m.RangeOf(dst.Addr()); r != nil {
		unknown := refuse(Route{}, telemetry.FlagNoRoute, fmt.Sprintf("nobody is known at %s, which is of %s", dst.Addr(), r),
			"it may be new, or gone: the client's next attempt meets what is there then. If it does not: is the controller running, and does it see the pod? An address of the cluster is never sent to in clear text unknown")
		unknown.Unknown = true
		return unknown
	}
	return Route{Kind: Plain, Dial: dst}
}

func toService(m Mesh, client *model.Workload, s *model.Service, dst netip.AddrPort) Route {
	if _, ok := s.Port(dst.Port()); !ok {
		return refuse(Route{Service: s}, telemetry.FlagNoRoute, fmt.Sprintf("service %s has no port %d", s.Hostname, dst.Port()),
			"its ports are "+portList(s)+"; see the Service's spec.ports")
	}
	if s.Waypoint != nil && !runsWaypoint(client, s.Waypoint) {
		return throughWaypoint(m, client, s.Waypoint, Route{Service: s, Authority: dst, Faults: s.Faults})
	}
	all := m.Endpoints(s.Key())
	candidates := having(all, s, dst.Port())
	how := s.Carried(dst.Port())
	w := m.Pick(s, how, client, candidates)
	if w == nil && how.PerEndpoint() > 0 && others(s, nil, candidates) {
		return Route{Service: s, Refusal: full(s, fmt.Sprintf("every endpoint has %d connections", how.PerEndpoint()), "maxConnectionsPerEndpoint")}
	}
	if w == nil {
		return refuse(Route{Service: s}, telemetry.FlagNoEndpoint, noEndpoint(s, dst.Port(), len(all), len(candidates)),
			"see whether its pods run and are ready, and whether its selector and target port match them")
	}
	return toEndpoint(client, w, Route{Service: s, Dest: w, Faults: s.Faults, Carriage: how, Others: others(s, w, candidates)}, endpointAddr(w, dst.Addr(), targetPort(w, s, dst.Port())))
}

// having keeps the endpoints with a port: all of them in the usual case, and then nothing is copied.
func having(all []*model.Workload, s *model.Service, port uint16) []*model.Workload {
	lacks := func(w *model.Workload) bool { return targetPort(w, s, port) == 0 }
	if !slices.ContainsFunc(all, lacks) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), lacks)
}

// others reports that there are more healthy candidates than w.
func others(s *model.Service, w *model.Workload, candidates []*model.Workload) bool {
	published := s != nil && s.PublishNotReady
	return slices.ContainsFunc(candidates, func(x *model.Workload) bool { return x != w && (published || !x.Unhealthy) })
}

func noEndpoint(s *model.Service, port uint16, all, candidates int) string {
	switch {
	case all == 0:
		return fmt.Sprintf("service %s has no endpoints", s.Hostname)
	case candidates == 0:
		return fmt.Sprintf("none of the %d endpoints of service %s has port %d", all, s.Hostname, port)
	}
	return fmt.Sprintf("none of the %d endpoints of service %s is ready", candidates, s.Hostname)
}

func toWorkload(m Mesh, client, w *model.Workload, dst netip.AddrPort) Route {
	r := Route{Dest: w}
	r.Service, _ = flow.ServiceOf(m.ServiceByHostname, w, dst.Port())
	if r.Service != nil && r.Service.Headless() {
		r.Faults = r.Service.Faults // such a service is called by its pods' addresses
	}
	if w.Waypoint != nil && !runsWaypoint(client, w.Waypoint) {
		return throughWaypoint(m, client, w.Waypoint, Route{Service: r.Service, Authority: dst, Faults: r.Faults})
	}
	return toEndpoint(client, w, r, dst)
}

// toEndpoint sends to a chosen workload: its own pod, a tunnel or plainly.
func toEndpoint(client, w *model.Workload, r Route, addr netip.AddrPort) Route {
	switch {
	case !addr.IsValid():
		return refuse(r, telemetry.FlagNoEndpoint, "workload "+w.Namespace+"/"+w.Name+" has no address", "its pod has not got an IP yet")
	case w.UID == client.UID:
		r.Kind, r.Dial = Hairpin, addr
	case w.Protocol == model.HBONE:
		r.Kind, r.Authority, r.Expect = Tunnel, addr, w.Identity()
		r.Dial = netip.AddrPortFrom(addr.Addr(), tunnelPort)
	default:
		r.Kind, r.Dial = Plain, addr
	}
	return r
}

// throughWaypoint tunnels to the waypoint that must be passed, and nowhere else when it is missing.
func throughWaypoint(m Mesh, client *model.Workload, g *model.Gateway, r Route) Route {
	s, pods := gatewayPods(m, g)
	w := m.Pick(s, nil, client, pods)
	if w == nil || len(w.Addresses) == 0 {
		what := "has no ready pod"
		if len(pods) == 0 {
			what = "is missing"
		}
		return refuse(Route{Service: r.Service}, telemetry.FlagNoRoute, "waypoint "+gatewayName(g)+" "+what,
			"traffic that must pass a waypoint is never sent around it; see the status of the Gateway, or remove the label weft.dev/use-waypoint")
	}
	port := g.Port
	if s != nil {
		if p := targetPort(w, s, g.Port); p != 0 {
			port = p
		}
	}
	if port == 0 {
		port = tunnelPort
	}
	r.Kind, r.Waypoint, r.Expect = Tunnel, w, w.Identity()
	r.Dial, r.Others = endpointAddr(w, r.Authority.Addr(), port), others(s, w, pods)
	return r
}

// gatewayPods are the pods that a waypoint reference names, and their service if it names one.
func gatewayPods(m Mesh, g *model.Gateway) (*model.Service, []*model.Workload) {
	var s *model.Service
	if g.Hostname != "" {
		s = m.ServiceByHostname(g.Hostname)
		if s != nil && g.Namespace != "" && s.Namespace != g.Namespace {
			s = nil
		}
	} else if g.Address.IsValid() {
		if w := m.ByAddress(g.Address); w != nil {
			return nil, []*model.Workload{w}
		}
		s = m.ServiceByVIP(g.Address)
	}
	if s == nil {
		return nil, nil
	}
	return s, m.Endpoints(s.Key())
}

// runsWaypoint reports that the client is a pod of the waypoint itself, which must not be sent back to it.
func runsWaypoint(client *model.Workload, g *model.Gateway) bool {
	if g.Address.IsValid() && slices.Contains(client.Addresses, g.Address) {
		return true
	}
	_, ok := client.Services[g.Namespace+"/"+g.Hostname]
	return ok && g.Hostname != ""
}

func gatewayName(g *model.Gateway) string {
	if g.Hostname == "" {
		return g.Address.String()
	}
	return g.Hostname
}

// targetPort is the port of w behind a service port, 0 when it has none.
func targetPort(w *model.Workload, s *model.Service, servicePort uint16) uint16 {
	for _, p := range w.Services[s.Key()] {
		if p.ServicePort == servicePort {
			return p.TargetPort
		}
	}
	if p, ok := s.Port(servicePort); ok && len(w.Services[s.Key()]) == 0 {
		return p.TargetPort
	}
	return 0
}

// endpointAddr prefers the address family that the client dialled.
func endpointAddr(w *model.Workload, like netip.Addr, port uint16) netip.AddrPort {
	for _, a := range w.Addresses {
		if a.Is4() == like.Is4() {
			return netip.AddrPortFrom(a, port)
		}
	}
	if len(w.Addresses) > 0 {
		return netip.AddrPortFrom(w.Addresses[0], port)
	}
	return netip.AddrPort{}
}

func portList(s *model.Service) string {
	var out []string
	for _, p := range s.Ports {
		out = append(out, fmt.Sprint(p.ServicePort))
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ", ")
}

func refuse(r Route, flag telemetry.Flag, cause, hint string) Route {
	r.Kind = Refuse
	r.Refusal = &flow.Failure{Flag: flag, Cause: cause, Hint: hint}
	return r
}
