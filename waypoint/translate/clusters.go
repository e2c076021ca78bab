package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/pkg/model"
)

const (
	// connectTimeout bounds dialling a pod, its handshake included.
	connectTimeout = 5 * time.Second
	// poolIdle closes a tunnel connection without streams.
	poolIdle = 300 * time.Second
	// unlimited lifts Envoy's default of 1024 connections and requests a cluster: the mesh sets no limits
	// that nobody asked for.
	unlimited = 1_000_000_000

	plainKey   = "plain" // endpoint metadata that picks the plaintext transport
	autoPrefix = "auto|" // + address:port: the TCP half of a sniffed port

	assignmentMark = "~" // before the hash in the name of endpoints whose cluster policies have changed

	httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
)

// fixedClusters lead to the inner listeners, and out to the pods.
func (b *builder) fixedClusters() []*clusterv3.Cluster {
	return []*clusterv3.Cluster{hopCluster(listenAuto), hopCluster(listenHTTP), hopCluster(listenSNI), hopCluster(listenTLS), tunnelCluster()}
}

// hopCluster is the way into an internal listener.
func hopCluster(name string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		CircuitBreakers:      noLimits(),
		TransportSocket:      internalSocket(),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{lbEndpoint(internalAddress(name, ""), nil)},
		}}},
	}
}

// tunnelCluster holds the mTLS connections to pods: the address comes with each connection.
func tunnelCluster() *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 listenTunnel,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout:       seconds(connectTimeout),
		CleanupInterval:      seconds(time.Minute),
		CircuitBreakers:      noLimits(),
		TransportSocket:      clientTLS(),
		LbConfig: &clusterv3.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &clusterv3.Cluster_OriginalDstLbConfig{
			MetadataKey: &metadatav3.MetadataKey{Key: metaNS, Path: []*metadatav3.MetadataKey_PathSegment{{
				Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: metaTunnel},
			}}},
		}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{httpOptions: pack(&httpv3.HttpProtocolOptions{
			CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: seconds(poolIdle)},
			UpstreamProtocolOptions: explicitHTTP2(&corev3.Http2ProtocolOptions{
				AllowConnect:                true,
				MaxConcurrentStreams:        u32(100),
				InitialStreamWindowSize:     u32(streamWindow),
				InitialConnectionWindowSize: u32(connectionWindow),
				ConnectionKeepalive:         keepalive(),
			}),
		})},
	}
}

// cluster makes a target's cluster and load assignment, once.
func (b *builder) cluster(t *target) {
	if b.assigned[t.name] != "" {
		return
	}
	c := edsCluster(t.name, t.name, t.app)
	plain := proto.Clone(c)
	owners := append(b.onCluster(t, c), t.source)
	eds := t.name
	if !proto.Equal(c, plain) {
		eds = assignmentName(c)
		c.EdsClusterConfig.ServiceName = eds
	}
	b.assigned[t.name] = eds
	b.res.Clusters = append(b.res.Clusters, c)
	b.res.own(resource.ClusterType, t.name, owners...)
	b.res.Endpoints = append(b.res.Endpoints, b.loadAssignment(t))
	b.res.own(resource.EndpointType, eds, owners...)
}

// assignmentName names the endpoints of a cluster that policies have changed. Such a cluster waits for its
// endpoints as a new one does; those that have not changed would not be sent again, and for 15 s it would
// stay as it was. So each form of it has endpoints of another name.
func assignmentName(c *clusterv3.Cluster) string {
	sum := sha256.Sum256(pack(c).Value)
	return c.Name + assignmentMark + hex.EncodeToString(sum[:6])
}

// assignedTo is the cluster whose endpoints a load assignment holds.
func assignedTo(a *endpointv3.ClusterLoadAssignment) string {
	name, _, _ := strings.Cut(a.GetClusterName(), assignmentMark)
	return name
}

// ownEndpoints repeats a target's endpoints under a name for a further cluster of it, which may come later: those of
// the first, which Envoy has already, would not be sent again, and the new one would wait for them for 15 s.
func (b *builder) ownEndpoints(t *target, prefix string) string {
	first := b.assigned[t.name]
	a := b.loadAssignment(t)
	a.ClusterName = prefix + first
	b.res.Endpoints = append(b.res.Endpoints, a)
	b.res.own(resource.EndpointType, a.ClusterName, b.res.Owners(resource.EndpointType, first)...)
	return a.ClusterName
}

// autoClusters are aliases by address of a sniffed port's cluster, for what is not HTTP. A TCP proxy picks
// its cluster by a name made of the address.
func (b *builder) autoClusters(t *target) {
	eds := b.ownEndpoints(t, autoPrefix)
	for _, vip := range t.vips {
		name := autoPrefix + vip
		c := edsCluster(name, eds, model.AppTCP)
		owners := b.onCluster(t, c)
		b.res.Clusters = append(b.res.Clusters, c)
		b.res.own(resource.ClusterType, name, append(owners, t.source)...)
	}
}

// edsCluster takes its endpoints from the load assignment named eds. Active health checks are left out on
// purpose: Envoy runs them where internal listeners do not exist; readiness comes with the endpoints.
func edsCluster(name, eds string, app model.AppProtocol) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       seconds(connectTimeout),
		LbPolicy:             clusterv3.Cluster_LEAST_REQUEST,
		CommonLbConfig:       &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 0}},
		CircuitBreakers:      noLimits(),
		TransportSocketMatches: []*clusterv3.Cluster_TransportSocketMatch{
			{
				Name:            plainKey,
				Match:           &structpb.Struct{Fields: map[string]*structpb.Value{plainKey: structpb.NewBoolValue(true)}},
				TransportSocket: rawSocket(),
			},
			{Name: "hbone", Match: &structpb.Struct{}, TransportSocket: internalSocket()},
		},
	}
	if eds != name {
		c.EdsClusterConfig.ServiceName = eds
	}
	if opts := appOptions(app); opts != nil {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptions: pack(opts)}
	}
	return c
}

// appOptions decides what is spoken to the application: what its port declares, else what the client spoke.
func appOptions(app model.AppProtocol) *httpv3.HttpProtocolOptions {
	h2 := &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     u32(streamWindow),
		InitialConnectionWindowSize: u32(connectionWindow),
	}
	switch app {
	case model.AppTCP, model.AppTLS:
		return nil
	case model.AppHTTP2, model.AppGRPC:
		return &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: headerLimits(), UpstreamProtocolOptions: explicitHTTP2(h2)}
	}
	return &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: headerLimits(), UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
		UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
			HttpProtocolOptions:  &corev3.Http1ProtocolOptions{EnableTrailers: true},
			Http2ProtocolOptions: h2,
		},
	}}
}

// headerLimits are those of answers.
func headerLimits() *corev3.HttpProtocolOptions {
	return &corev3.HttpProtocolOptions{MaxHeadersCount: u32(maxHeaderFields), MaxResponseHeadersKb: u32(maxHeaders)}
}

func explicitHTTP2(h2 *corev3.Http2ProtocolOptions) *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
	}}
}

func noLimits() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: u32(unlimited), MaxPendingRequests: u32(unlimited), MaxRequests: u32(unlimited), MaxRetries: u32(unlimited),
	}}}
}

// internalSocket carries the endpoint's own metadata into the listener behind it.
func internalSocket() *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "internal_upstream", ConfigType: &corev3.TransportSocket_TypedConfig{
		TypedConfig: pack(&internalv3.InternalUpstreamTransport{
			PassthroughMetadata: []*internalv3.InternalUpstreamTransport_MetadataValueSource{{
				Name: metaNS,
				Kind: &metadatav3.MetadataKind{Kind: &metadatav3.MetadataKind_Host_{Host: &metadatav3.MetadataKind_Host{}}},
			}},
			TransportSocket: rawSocket(),
		}),
	}}
}

func rawSocket() *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "raw", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawv3.RawBuffer{})}}
}
