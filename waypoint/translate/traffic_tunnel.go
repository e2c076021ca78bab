package translate

import (
	"fmt"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/weftmesh/weft/pkg/model"
)

// The connection that a service's cluster makes to a pod in the mesh ends in the listener beside it and is
// accepted at once; what is dialled is the tunnel's. So a policy on dialling makes a cluster like tunnel,
// which the endpoints name. Services that ask for the same share one.

// tunnelOf names the cluster for tunnels of connections under a policy, and makes it; "" is the common one.
func (b *builder) tunnelOf(p *model.TrafficPolicy) string {
	connect := connectTimeout
	if p.Timeouts != nil && p.Timeouts.Connect > 0 {
		connect = p.Timeouts.Connect
	}
	if connect == connectTimeout && p.Keepalive == nil {
		return ""
	}
	name := listenTunnel + "~" + connect.String()
	c := tunnelCluster()
	c.ConnectTimeout = seconds(connect)
	if k := p.Keepalive; k != nil {
		name += fmt.Sprintf("~%s~%s~%d", k.Time, k.Interval, k.Probes)
		c.UpstreamConnectionOptions = keepaliveOptions(k)
	}
	c.Name = name
	if !b.tunnels[name] {
		b.tunnels[name] = true
		b.res.Clusters = append(b.res.Clusters, c)
	}
	return name
}

func keepaliveOptions(k *model.Keepalive) *clusterv3.UpstreamConnectionOptions {
	return &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
		KeepaliveProbes: u32(k.Probes), KeepaliveTime: u32(uint32(k.Time / time.Second)), KeepaliveInterval: u32(uint32(k.Interval / time.Second)),
	}}
}
