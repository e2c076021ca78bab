package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"unique"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"istio.io/istio/pkg/workloadapi"

	"github.com/weftmesh/weft/pkg/identity"
	"github.com/weftmesh/weft/pkg/model"
)

var deterministic = proto.MarshalOptions{Deterministic: true}

// Marshal encodes equal messages alike.
func Marshal(m proto.Message) ([]byte, error) { return deterministic.Marshal(m) }

// tunnelPort is meant where a reference to a waypoint names none.
const tunnelPort = 15008

// ErrUnreadable is wrapped by every failure to understand a resource.
var ErrUnreadable = errors.New("resource cannot be read")

func unreadable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnreadable, fmt.Errorf(format, args...))
}

// maxReasons bounds how many unreadable resources one refusal names.
const maxReasons = 5

// Summary joins errors, of which there may be very many, into one of a few lines.
func Summary(bad []error) error {
	if len(bad) > maxReasons {
		n := len(bad) - maxReasons
		bad = append(bad[:maxReasons:maxReasons], fmt.Errorf("and %d more", n))
	}
	return errors.Join(bad...)
}

// Unreadable is an error about a resource that wraps ErrUnreadable.
func Unreadable(format string, args ...any) error { return unreadable(format, args...) }

// invert turns an encoding table round. Where two keys encode alike, the one that is not empty is meant.
func invert[K ~string, V comparable](m map[K]V) map[V]K {
	out := make(map[V]K, len(m))
	for k, v := range m {
		if k != "" {
			out[v] = k
		}
	}
	return out
}

var (
	appFromWire   = invert(appToWire)
	ownerFromWire = invert(ownerToWire)
	scopeFromWire = invert(scopeToWire)
)

// DecodeAddress reads a workload or a service; exactly one of the two is returned. Fields that the
// model has no place for (network gateways, application tunnels, capacity, visibility, weighted
// waypoints) are ignored. Errors wrap ErrUnreadable.
func DecodeAddress(a *workloadapi.Address) (*model.Workload, *model.Service, error) {
	switch t := a.GetType().(type) {
	case *workloadapi.Address_Workload:
		w, err := decodeWorkload(t.Workload)
		return w, nil, err
	case *workloadapi.Address_Service:
		s, err := decodeService(t.Service)
		return nil, s, err
	}
	return nil, nil, unreadable("neither a workload nor a service")
}

func decodeWorkload(in *workloadapi.Workload) (*model.Workload, error) {
	if in.GetUid() == "" {
		return nil, unreadable("a workload without uid")
	}
	w := &model.Workload{
		UID: in.GetUid(), Name: in.GetName(), Namespace: intern(in.GetNamespace()), ServiceAccount: intern(in.GetServiceAccount()),
		TrustDomain: intern(in.GetTrustDomain()), Hostname: in.GetHostname(), Network: intern(in.GetNetwork()), Node: intern(in.GetNode()),
		Cluster: intern(in.GetClusterId()), NativeTunnel: in.GetNativeTunnel(), CanonicalName: intern(in.GetCanonicalName()),
		CanonicalRev: intern(in.GetCanonicalRevision()), OwnerName: intern(in.GetWorkloadName()), Policies: internAll(in.GetAuthorizationPolicies()),
		Unhealthy: in.GetStatus() != workloadapi.WorkloadStatus_HEALTHY, HostNetwork: in.GetNetworkMode() == workloadapi.NetworkMode_HOST_NETWORK,
		Locality: model.Locality{Region: intern(in.GetLocality().GetRegion()), Zone: intern(in.GetLocality().GetZone()), Subzone: intern(in.GetLocality().GetSubzone())},
	}
	// Both may be elided on the wire when they have these values.
	if w.TrustDomain == "" {
		w.TrustDomain = identity.DefaultTrustDomain
	}
	if w.ServiceAccount == "" {
		w.ServiceAccount = "default"
	}
	if in.GetWorkloadName() != "" || in.GetWorkloadType() != workloadapi.WorkloadType_DEPLOYMENT {
		w.OwnerKind = ownerFromWire[in.GetWorkloadType()]
	}
	switch in.GetTunnelProtocol() {
	case workloadapi.TunnelProtocol_NONE, workloadapi.TunnelProtocol_LEGACY_ISTIO_MTLS:
	case workloadapi.TunnelProtocol_HBONE:
		w.Protocol = model.HBONE
	default:
		return nil, unreadable("tunnel protocol %v is not known", in.GetTunnelProtocol())
	}
	var err error
	if w.Addresses, err = decodeAddrs(in.GetAddresses()); err != nil {
		return nil, err
	}
	if w.Waypoint, err = decodeGateway(in.GetWaypoint()); err != nil {
		return nil, err
	}
	if len(in.GetServices()) > 0 {
		w.Services = make(map[string][]model.Port, len(in.GetServices()))
	}
	for key, list := range in.GetServices() {
		if w.Services[intern(key)], err = decodePorts(list.GetPorts()); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func decodeService(in *workloadapi.Service) (*model.Service, error) {
	if in.GetNamespace() == "" || in.GetHostname() == "" {
		return nil, unreadable("a service without namespace or hostname")
	}
	s := &model.Service{
		Name: in.GetName(), Namespace: intern(in.GetNamespace()), Hostname: intern(in.GetHostname()),
		SubjectAltNames: in.GetSubjectAltNames(), Canonical: in.GetCanonical(),
	}
	var err error
	for _, na := range in.GetAddresses() {
		a, err := decodeAddr(na.GetAddress())
		if err != nil {
			return nil, err
		}
		if na.Length != nil && int(na.GetLength()) != a.BitLen() {
			continue // a range of addresses; the model knows only single ones
		}
		s.Addresses = append(s.Addresses, a)
	}
	if s.Ports, err = decodePorts(in.GetPorts()); err != nil {
		return nil, err
	}
	if s.Waypoint, err = decodeGateway(in.GetWaypoint()); err != nil {
		return nil, err
	}
	if err := decodeBalancing(s, in.GetLoadBalancing()); err != nil {
		return nil, err
	}
	if err := decodePortNames(s, in.GetExtensions()); err != nil {
		return nil, err
	}
	return s, decodeTraffic(s, in.GetExtensions())
}

func decodeBalancing(s *model.Service, lb *workloadapi.LoadBalancing) error {
	for _, p := range lb.GetRoutingPreference() {
		scope, ok := scopeFromWire[p]
		if !ok {
			return unreadable("routing preference %v is not known", p)
		}
		s.Preference = append(s.Preference, scope)
	}
	switch lb.GetMode() {
	case workloadapi.LoadBalancing_UNSPECIFIED_MODE, workloadapi.LoadBalancing_FAILOVER:
	case workloadapi.LoadBalancing_STRICT:
		s.StrictPreference = true
	default:
		return unreadable("load balancing mode %v is not supported", lb.GetMode())
	}
	s.PublishNotReady = lb.GetHealthPolicy() == workloadapi.LoadBalancing_ALLOW_ALL
	return nil
}

func decodePortNames(s *model.Service, exts []*workloadapi.Extension) error {
	for _, e := range exts {
		if e.GetName() != extPortNames {
			continue
		}
		names := &structpb.Struct{}
		if err := e.GetConfig().UnmarshalTo(names); err != nil {
			return unreadable("extension %s: %w", extPortNames, err)
		}
		for i := range s.Ports {
			s.Ports[i].Name = intern(names.GetFields()[strconv.Itoa(int(s.Ports[i].ServicePort))].GetStringValue())
		}
	}
	return nil
}

func decodePorts(in []*workloadapi.Port) ([]model.Port, error) {
	var out []model.Port
	for _, p := range in {
		service, err := decodePort(p.GetServicePort())
		if err != nil {
			return nil, err
		}
		target, err := decodePort(p.GetTargetPort())
		if err != nil {
			return nil, err
		}
		out = append(out, model.Port{ServicePort: service, TargetPort: target, App: appFromWire[p.GetAppProtocol()]})
	}
	return out, nil
}

func decodePort(n uint32) (uint16, error) {
	if n > 65535 {
		return 0, unreadable("port %d is above 65535", n)
	}
	return uint16(n), nil
}

func decodeGateway(in *workloadapi.GatewayAddress) (*model.Gateway, error) {
	if in == nil {
		return nil, nil
	}
	port, err := decodePort(in.GetHboneMtlsPort())
	if err != nil {
		return nil, err
	}
	if port == 0 {
		port = tunnelPort
	}
	switch d := in.GetDestination().(type) {
	case *workloadapi.GatewayAddress_Hostname:
		if d.Hostname.GetHostname() == "" {
			return nil, unreadable("a waypoint with an empty hostname")
		}
		return &model.Gateway{Namespace: intern(d.Hostname.GetNamespace()), Hostname: intern(d.Hostname.GetHostname()), Port: port}, nil
	case *workloadapi.GatewayAddress_Address:
		a, err := decodeAddr(d.Address.GetAddress())
		return &model.Gateway{Address: a, Port: port}, err
	}
	return nil, unreadable("a waypoint with neither hostname nor address")
}

func decodeAddrs(in [][]byte) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, b := range in {
		a, err := decodeAddr(b)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

func decodeAddr(b []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return netip.Addr{}, unreadable("an address of %d bytes, want 4 or 16", len(b))
	}
	return a.Unmap(), nil
}

// intern shares equal strings between resources: namespaces, nodes and the like repeat in every workload.
func intern(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

func internAll(in []string) []string {
	for i, s := range in {
		in[i] = intern(s)
	}
	return in
}
