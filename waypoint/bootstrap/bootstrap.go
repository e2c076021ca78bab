// Package bootstrap makes the few lines of configuration that Envoy starts with: where it gets the rest.
//
// Envoy speaks only to its launcher, over two unix sockets: one is proxied to the controller (ADS), the
// other is the launcher's own (SDS, access logs). So tokens, roots and addresses of the controller can
// change without Envoy, and its private key never touches the disk. The admin page is a unix socket too.
package bootstrap

import (
	"fmt"
	"path/filepath"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	internalv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	downstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/waypoint/translate"
)

// ControllerCluster is the socket that the launcher forwards to the controller.
const ControllerCluster = "controller"

// Files of a waypoint in its run directory.
const (
	AdminSocket      = "admin.sock"
	ControllerSocket = "ads.sock"
	LauncherSocket   = "launcher.sock"
	File             = "envoy.json"
)

// Options of one Envoy.
type Options struct {
	// NodeID is what the controller knows this Envoy by: waypoint~<namespace>/<gateway>~<pod>.
	NodeID string
	// Gateway is namespace/name, Envoy's service cluster.
	Gateway string
	// RunDir holds the sockets. Its path must be short: a unix socket's is limited to 107 bytes.
	RunDir string
	// MaxConnections from ztunnels; more are refused. Default 100,000.
	MaxConnections int64
	// MaxRegexSize is RE2's program size from which on Envoy refuses an expression. Default 10,000.
	MaxRegexSize int
	// HangTime is how long one of Envoy's workers may do one thing; then Envoy is ended, to be started anew. What hangs
	// so, e.g. in a module's endless loop, comes back never, and with it all that the thread has to do. Default 30 s. The
	// main thread may take half as long again: less than a pod has to start.
	HangTime time.Duration
}

// HangTime is the usual one.
const HangTime = 30 * time.Second

// Config builds the bootstrap.
func Config(o Options) *bootstrapv3.Bootstrap {
	if o.MaxConnections == 0 {
		o.MaxConnections = 100_000
	}
	if o.MaxRegexSize == 0 {
		o.MaxRegexSize = 10_000
	}
	if o.HangTime == 0 {
		o.HangTime = HangTime
	}
	return &bootstrapv3.Bootstrap{
		Watchdogs: &bootstrapv3.Watchdogs{
			WorkerWatchdog: &bootstrapv3.Watchdog{KillTimeout: durationpb.New(o.HangTime)},
			// It takes configuration, which may last, and runs what a module does when it is configured.
			MainThreadWatchdog: &bootstrapv3.Watchdog{KillTimeout: durationpb.New(o.HangTime + o.HangTime/2)},
		},
		Node:  &corev3.Node{Id: o.NodeID, Cluster: o.Gateway},
		Admin: &bootstrapv3.Admin{Address: pipe(filepath.Join(o.RunDir, AdminSocket))},
		BootstrapExtensions: []*corev3.TypedExtensionConfig{{
			Name: "envoy.bootstrap.internal_listener", TypedConfig: pack(&internalv3.InternalListener{}),
		}},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			LdsConfig: ads(),
			CdsConfig: ads(),
			AdsConfig: &corev3.ApiConfigSource{
				ApiType:             corev3.ApiConfigSource_DELTA_GRPC,
				TransportApiVersion: corev3.ApiVersion_V3,
				GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
					EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: ControllerCluster},
				}}},
			},
		},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{Clusters: []*clusterv3.Cluster{
			grpcSocket(ControllerCluster, filepath.Join(o.RunDir, ControllerSocket)),
			grpcSocket(translate.LauncherCluster, filepath.Join(o.RunDir, LauncherSocket)),
		}},
		// Statistics of idle clusters cost more memory than the clusters.
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
		LayeredRuntime:      runtimeLayer(o),
		OverloadManager: &overloadv3.OverloadManager{ResourceMonitors: []*overloadv3.ResourceMonitor{{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			ConfigType: &overloadv3.ResourceMonitor_TypedConfig{TypedConfig: pack(&downstreamv3.DownstreamConnectionsConfig{
				MaxActiveDownstreamConnections: o.MaxConnections,
			})},
		}}},
	}
}

// runtimeLayer lifts two guards against strangers that would hit peers who have shown a certificate: a
// ztunnel multiplexes many clients, and when most of them give up early its connection must not be closed
// for all of them; and Envoy's limit of 100 on the size of a regular expression refuses ordinary ones. And a header that comes
// several times is one text to policies: were each line compared alone, one good line would let the others in.
func runtimeLayer(o Options) *bootstrapv3.LayeredRuntime {
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name: "weft",
		LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
			"overload.premature_reset_total_stream_count":               structpb.NewNumberValue(1e9),
			"re2.max_program_size.error_level":                          structpb.NewNumberValue(float64(o.MaxRegexSize)),
			"envoy.reloadable_features.rbac_match_headers_individually": structpb.NewBoolValue(false),
		}}},
	}}}
}

// Marshal writes a bootstrap as the JSON that `envoy -c` reads.
func Marshal(b *bootstrapv3.Bootstrap) ([]byte, error) {
	out, err := protojson.MarshalOptions{Multiline: true, UseProtoNames: true}.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("write Envoy's bootstrap: %w", err)
	}
	return out, nil
}

func grpcSocket(name, path string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(2 * time.Second),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: pipe(path)},
			}}},
		}}},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(&httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
				}},
			}),
		},
	}
}

func pipe(path string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: 0o600}}}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// pack cannot fail: the messages are ours and hold no text from outside.
func pack(m proto.Message) *anypb.Any {
	out, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return out
}
