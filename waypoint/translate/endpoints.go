package translate

import (
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

// loadAssignment lists who serves a target. Without endpoints Envoy answers 503.
func (b *builder) loadAssignment(t *target) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: b.assigned[t.name]}
	p, _ := b.trafficPolicy(t, nil, nil)
	via := b.tunnelOf(p)
	if t.workload != nil {
		if e := b.endpoint(t.workload, t.port, t.anyPort, via); e != nil {
			out.Endpoints = []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{e}}}
		}
		return out
	}
	groups := b.groups(t.service, p)
	for _, w := range b.workloads[t.serviceKey()] {
		down := w.Unhealthy && !t.service.PublishNotReady
		if down && !listsUnready(p) {
			continue
		}
		for _, port := range w.Services[t.serviceKey()] {
			if port.ServicePort != t.port {
				continue
			}
			if e := b.endpoint(w, port.TargetPort, false, via); e != nil {
				if down {
					e.HealthStatus = corev3.HealthStatus_UNHEALTHY
				}
				groups.add(w, e)
			}
		}
	}
	out.Endpoints = groups.list()
	return out
}

// endpoint is one port of one pod: through the tunnel where the pod is in the mesh, else plainly. Via is the
// cluster of the tunnel's connections where it is not the common one.
func (b *builder) endpoint(w *model.Workload, port uint16, anyPort bool, via string) *endpointv3.LbEndpoint {
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
		label(meta, w)
		return lbEndpoint(socketAddress(addr, port), meta)
	}
	fields := map[string]string{
		metaTunnel:   hostPort(addr, b.cfg.EndpointPort),
		metaSAN:      w.Identity().String(),
		metaWorkload: ownerName(w),
	}
	if via != "" {
		fields[metaVia] = via
	}
	if anyPort {
		return lbEndpoint(internalAddress(listenTunnel, addr.String()), strMeta(metaNS, fields))
	}
	fields[metaAuthority] = app
	meta := strMeta(metaNS, fields)
	label(meta, w)
	return lbEndpoint(internalAddress(listenTunnel, app), meta)
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
