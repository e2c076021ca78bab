package translate

import (
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// grpcPrefix + the service port's cluster is the same endpoints, always spoken HTTP/2 to.
const grpcPrefix = "grpc|"

// grpcService is a service of the mesh that Envoy itself calls by gRPC, over HBONE and as the waypoint. The
// timeout is of a whole call; 0 is none.
func (b *builder) grpcService(ref model.ServicePort, timeout time.Duration) (*corev3.GrpcService, error) {
	s := b.snap.Services[ref.Service]
	if s == nil {
		return nil, fmt.Errorf("service %s does not exist", ref.Service)
	}
	p, ok := s.Port(ref.Port)
	if !ok {
		return nil, fmt.Errorf("service %s has no port %d", ref.Service, ref.Port)
	}
	if why, bad := b.cfg.Refused[serviceSource(s)]; bad {
		return nil, fmt.Errorf("service %s is refused by Envoy: %s", ref.Service, why)
	}
	t := &target{name: clusterName(s.Key(), ref.Port), port: ref.Port, app: p.App, service: s, source: serviceSource(s)}
	b.cluster(t) // with its endpoints
	name := grpcPrefix + t.name
	if b.assigned[name] == "" {
		b.assigned[name] = b.ownEndpoints(t, grpcPrefix)
		c := edsCluster(name, b.assigned[name], model.AppGRPC)
		owners := b.onCluster(t, c)
		b.res.Clusters = append(b.res.Clusters, c)
		b.res.own(resource.ClusterType, name, append(owners, t.source)...)
	}
	out := &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: name},
	}}
	if timeout > 0 {
		out.Timeout = seconds(timeout)
	}
	return out, nil
}
