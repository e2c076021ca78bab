package wire

import (
	"fmt"
	"net/netip"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	"istio.io/istio/pkg/workloadapi"

	"github.com/weftmesh/weft/pkg/model"
)

// extPortNames is the extension of a Service that carries the names of its ports, which DNS SRV
// records need: a google.protobuf.Struct of port number → name.
const extPortNames = "weft.v1.PortNames"

var appToWire = map[model.AppProtocol]workloadapi.AppProtocol{
	model.AppHTTP: workloadapi.AppProtocol_HTTP11, model.AppHTTP2: workloadapi.AppProtocol_HTTP2,
	model.AppGRPC: workloadapi.AppProtocol_GRPC, model.AppTCP: workloadapi.AppProtocol_TCP, model.AppTLS: workloadapi.AppProtocol_TLS,
}

var ownerToWire = map[string]workloadapi.WorkloadType{
	"deployment": workloadapi.WorkloadType_DEPLOYMENT, "cronjob": workloadapi.WorkloadType_CRONJOB,
	"job": workloadapi.WorkloadType_JOB, "pod": workloadapi.WorkloadType_POD, "": workloadapi.WorkloadType_DEPLOYMENT,
}

var scopeToWire = map[model.Scope]workloadapi.LoadBalancing_Scope{
	model.ScopeNetwork: workloadapi.LoadBalancing_NETWORK, model.ScopeRegion: workloadapi.LoadBalancing_REGION,
	model.ScopeZone: workloadapi.LoadBalancing_ZONE, model.ScopeSubzone: workloadapi.LoadBalancing_SUBZONE,
	model.ScopeNode: workloadapi.LoadBalancing_NODE, model.ScopeCluster: workloadapi.LoadBalancing_CLUSTER,
}

// EncodeWorkload makes the wire form of a workload; its resource name is the UID. Port names are not
// carried (those of the Service are). Owner kinds that the wire does not know become "pod".
func EncodeWorkload(w *model.Workload) *workloadapi.Address {
	out := &workloadapi.Workload{
		Uid: w.UID, Name: w.Name, Namespace: w.Namespace, ServiceAccount: w.ServiceAccount, TrustDomain: w.TrustDomain,
		Addresses: encodeAddrs(w.Addresses), Hostname: w.Hostname, Network: w.Network, Node: w.Node, ClusterId: w.Cluster,
		NativeTunnel: w.NativeTunnel, Waypoint: encodeGateway(w.Waypoint), CanonicalName: w.CanonicalName, CanonicalRevision: w.CanonicalRev,
		WorkloadName: w.OwnerName, AuthorizationPolicies: w.Policies,
	}
	if w.Protocol == model.HBONE {
		out.TunnelProtocol = workloadapi.TunnelProtocol_HBONE
	}
	if w.Locality != (model.Locality{}) {
		out.Locality = &workloadapi.Locality{Region: w.Locality.Region, Zone: w.Locality.Zone, Subzone: w.Locality.Subzone}
	}
	if kind, ok := ownerToWire[w.OwnerKind]; ok {
		out.WorkloadType = kind
	} else {
		out.WorkloadType = workloadapi.WorkloadType_POD
	}
	if w.Unhealthy {
		out.Status = workloadapi.WorkloadStatus_UNHEALTHY
	}
	if w.HostNetwork {
		out.NetworkMode = workloadapi.NetworkMode_HOST_NETWORK
	}
	if len(w.Services) > 0 {
		out.Services = make(map[string]*workloadapi.PortList, len(w.Services))
		for key, ports := range w.Services {
			out.Services[key] = &workloadapi.PortList{Ports: encodePorts(ports)}
		}
	}
	return &workloadapi.Address{Type: &workloadapi.Address_Workload{Workload: out}}
}

// EncodeService makes the wire form of a service; its resource name is Service.Key().
func EncodeService(s *model.Service) *workloadapi.Address {
	out := &workloadapi.Service{
		Name: s.Name, Namespace: s.Namespace, Hostname: s.Hostname, Ports: encodePorts(s.Ports), SubjectAltNames: s.SubjectAltNames,
		Waypoint: encodeGateway(s.Waypoint), LoadBalancing: encodeBalancing(s), Canonical: s.Canonical,
	}
	for _, a := range s.Addresses {
		out.Addresses = append(out.Addresses, &workloadapi.NetworkAddress{Address: a.AsSlice()})
	}
	names := map[string]*structpb.Value{}
	for _, p := range s.Ports {
		if p.Name != "" {
			names[strconv.Itoa(int(p.ServicePort))] = structpb.NewStringValue(p.Name)
		}
	}
	if len(names) > 0 {
		out.Extensions = append(out.Extensions, encodeExtension(extPortNames, &structpb.Struct{Fields: names}))
	}
	if t := encodeTraffic(s); t != nil {
		out.Extensions = append(out.Extensions, encodeExtension(extTraffic, t))
	}
	return &workloadapi.Address{Type: &workloadapi.Address_Service{Service: out}}
}

func encodeExtension(name string, config proto.Message) *workloadapi.Extension {
	any := &anypb.Any{}
	if err := anypb.MarshalFrom(any, config, deterministic); err != nil {
		panic(fmt.Sprintf("%s: only what is not UTF-8 does not encode, and names of objects are: %v", name, err))
	}
	return &workloadapi.Extension{Name: name, Config: any}
}

func encodeBalancing(s *model.Service) *workloadapi.LoadBalancing {
	if len(s.Preference) == 0 && !s.StrictPreference && !s.PublishNotReady {
		return nil
	}
	lb := &workloadapi.LoadBalancing{}
	for _, p := range s.Preference {
		lb.RoutingPreference = append(lb.RoutingPreference, scopeToWire[p])
	}
	switch {
	case s.StrictPreference:
		lb.Mode = workloadapi.LoadBalancing_STRICT
	case len(s.Preference) > 0:
		lb.Mode = workloadapi.LoadBalancing_FAILOVER
	}
	if s.PublishNotReady {
		lb.HealthPolicy = workloadapi.LoadBalancing_ALLOW_ALL
	}
	return lb
}

func encodePorts(ports []model.Port) []*workloadapi.Port {
	var out []*workloadapi.Port
	for _, p := range ports {
		out = append(out, &workloadapi.Port{ServicePort: uint32(p.ServicePort), TargetPort: uint32(p.TargetPort), AppProtocol: appToWire[p.App]})
	}
	return out
}

func encodeGateway(g *model.Gateway) *workloadapi.GatewayAddress {
	if g == nil {
		return nil
	}
	out := &workloadapi.GatewayAddress{HboneMtlsPort: uint32(g.Port)}
	if g.Hostname != "" {
		out.Destination = &workloadapi.GatewayAddress_Hostname{Hostname: &workloadapi.NamespacedHostname{Namespace: g.Namespace, Hostname: g.Hostname}}
	} else {
		out.Destination = &workloadapi.GatewayAddress_Address{Address: &workloadapi.NetworkAddress{Address: g.Address.AsSlice()}}
	}
	return out
}

func encodeAddrs(addrs []netip.Addr) [][]byte {
	var out [][]byte
	for _, a := range addrs {
		out = append(out, a.AsSlice())
	}
	return out
}
