package translate

import (
	"net/netip"
	"sort"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

// loadAssignment lists who serves a target. Without endpoints Envoy answers 503.
func (b *builder) loadAssignment(t *target) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: t.name}
	if t.workload != nil {
		if e := b.endpoint(t.workload, t.port, t.anyPort); e != nil {
			out.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{e}}}
		}
		return out
	}
	byRank := map[int][]*endpointv3.LbEndpoint{}
	for _, w := range b.workloads[t.serviceKey()] {
		if w.Unhealthy && !t.service.PublishNotReady {
			continue
		}
		rank, ok := b.rank(t.service, w)
		if !ok {
			continue
		}
		for _, p := range w.Services[t.serviceKey()] {
			if p.ServicePort != t.port {
				continue
			}
			if e := b.endpoint(w, p.TargetPort, false); e != nil {
				byRank[rank] = append(byRank[rank], e)
			}
		}
	}
	ranks := make([]int, 0, len(byRank))
	for r := range byRank {
		ranks = append(ranks, r)
	}
	sort.Ints(ranks)
	for priority, r := range ranks {
		out.Endpoints = append(out.Endpoints, &endpointv3.LocalityLbEndpoints{Priority: uint32(priority), LbEndpoints: byRank[r]})
	}
	return out
}

// endpoint is one port of one pod: through the tunnel where the pod is in the mesh, else plainly.
func (b *builder) endpoint(w *model.Workload, port uint16, anyPort bool) *endpointv3.LbEndpoint {
	if len(w.Addresses) == 0 || (port == 0 && !anyPort) {
		return nil
	}
	addr := w.Addresses[0].Unmap()
	app := hostPort(addr, port)
	if w.Protocol != model.HBONE {
		meta := strMeta(metaNS, map[string]string{metaAuthority: app, metaWorkload: ownerName(w)})
		meta.FilterMetadata["envoy.transport_socket_match"] = &structpb.Struct{
			Fields: map[string]*structpb.Value{plainKey: structpb.NewBoolValue(true)},
		}
		return lbEndpoint(socketAddress(addr, port), meta)
	}
	fields := map[string]string{
		metaTunnel:   hostPort(addr, b.cfg.EndpointPort),
		metaSAN:      w.Identity().String(),
		metaWorkload: ownerName(w),
	}
	if anyPort {
		return lbEndpoint(internalAddress(listenTunnel, addr.String()), strMeta(metaNS, fields))
	}
	fields[metaAuthority] = app
	return lbEndpoint(internalAddress(listenTunnel, app), strMeta(metaNS, fields))
}

// ownerName is what telemetry calls a workload: its Deployment, or the pod itself.
func ownerName(w *model.Workload) string {
	if w.OwnerName != "" {
		return w.Namespace + "/" + w.OwnerName
	}
	return w.Namespace + "/" + w.Name
}

func lbEndpoint(a *corev3.Address, meta *corev3.Metadata) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}},
		Metadata:       meta,
	}
}

func internalAddress(listener, id string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
		AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: listener},
		EndpointId:           id,
	}}}
}

func socketAddress(a netip.Addr, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: a.String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}
