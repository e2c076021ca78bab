package xds

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/log"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// maxRequest bounds one request: a client that knows 100,000 resources sends about 15 MB of versions.
const maxRequest = 128 << 20

// Options configure NewServer.
type Options struct {
	// TLS of the listener, see ca.Authority.ServingTLS. Required.
	TLS *tls.Config
	// Authenticator of every call, unary and stream. Required.
	Authenticator ca.Authenticator
	// Authorize decides whether a caller may subscribe to a type under a node id. Default DefaultAuthorize.
	Authorize func(c ca.Caller, nodeID, typeURL string) error
	// Register adds further services to the same port, e.g. (*ca.Service).Register.
	Register []func(grpc.ServiceRegistrar)
	// OnNACK, if set, is told of every refusal. It must not block.
	OnNACK func(NACK)
	// MaxConnectionAge after which a client is asked to reconnect, so that tokens are checked again and
	// clients spread over replicas. Default 30 min.
	MaxConnectionAge time.Duration
	// Registerer for weft_xds_* metrics; nil registers none.
	Registerer prometheus.Registerer
	// Clock, default the machine's.
	Clock ca.Clock
	// Logger, default none.
	Logger *zap.Logger
}

// Server distributes snapshots. Safe for concurrent use.
type Server struct {
	o         Options
	ctx       context.Context // ends every stream
	cancel    context.CancelFunc
	workloads *workloads
	envoy     cache.SnapshotCache
	clients   *clients
	grpc      *grpc.Server

	readyOnce sync.Once
	ready     chan struct{} // closed by the first SetSnapshot
}

// NewServer makes a server; Serve runs it.
func NewServer(o Options) (*Server, error) {
	if o.TLS == nil || o.Authenticator == nil {
		return nil, errors.New("xds server: TLS and Authenticator are required: nobody may read the mesh without proving who it is")
	}
	if o.Authorize == nil {
		o.Authorize = DefaultAuthorize
	}
	if o.Clock == nil {
		o.Clock = ca.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	o.MaxConnectionAge = cmp.Or(o.MaxConnectionAge, 30*time.Minute)
	m, err := newServerMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("xds server: %w", err)
	}
	l := cacheLogger(o.Logger)
	s := &Server{o: o, ready: make(chan struct{}), workloads: newWorkloads(), envoy: cache.NewSnapshotCache(true, nodeHash{}, l)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.clients = newClients(&s.o, m, s.ready, s.ctx.Done())
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(o.TLS)),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.UnaryInterceptor(ca.UnaryAuth(o.Authenticator, o.Logger)),
		grpc.StreamInterceptor(ca.StreamAuth(o.Authenticator, o.Logger)),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 20 * time.Second, Timeout: 10 * time.Second, MaxConnectionAge: o.MaxConnectionAge, MaxConnectionAgeGrace: 5 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, serverv3.NewServer(s.ctx, s.mux(), s.clients))
	for _, r := range o.Register {
		r(s.grpc)
	}
	return s, nil
}

// mux sends ztunnels' types to our own caches and everything else to Envoy's snapshots.
func (s *Server) mux() *cache.MuxCache {
	kind := func(typeURL string) string {
		if forZtunnels(typeURL) {
			return typeURL
		}
		return ""
	}
	return &cache.MuxCache{
		Classify:      func(r *cache.Request) string { return kind(r.GetTypeUrl()) },
		ClassifyDelta: func(r *cache.DeltaRequest) string { return kind(r.GetTypeUrl()) },
		Caches:        map[string]cache.Cache{wire.TypeAddress: s.workloads.addresses, wire.TypeAuthorization: s.workloads.policies, wire.TypeRange: s.workloads.ranges, "": s.envoy},
	}
}

// SetSnapshot publishes a snapshot to ztunnels; only what differs from the one before is sent. The
// first one opens the server: until then clients wait. The snapshot must not be changed afterwards.
func (s *Server) SetSnapshot(snap *model.Snapshot) { s.Update(snap, nil) }

// Update is SetSnapshot where it is known what differs from the snapshot before; it costs what differs.
func (s *Server) Update(snap *model.Snapshot, what *model.Changes) {
	if err := s.workloads.set(snap, what); err != nil {
		s.o.Logger.Error("some resources were not published, proxies keep their last version; do names contain bytes that are not UTF-8?", zap.Error(err))
	}
	s.readyOnce.Do(func() { close(s.ready) })
}

// SetEnvoy publishes a waypoint's configuration to all its pods. nodeID is WaypointNode(namespace, gateway, "").
func (s *Server) SetEnvoy(nodeID string, snap *cache.Snapshot) error {
	if err := s.envoy.SetSnapshot(s.ctx, waypointKey(nodeID), snap); err != nil {
		return fmt.Errorf("publish configuration of %s: %w", nodeID, err)
	}
	return nil
}

// ClearEnvoy forgets a waypoint that was deleted.
func (s *Server) ClearEnvoy(nodeID string) { s.envoy.ClearSnapshot(waypointKey(nodeID)) }

// EnvoyCurrent reports whether every connected pod of a waypoint has answered what was published last, and has got the
// endpoints of all clusters in it: before that a new cluster is not used. nodeID is as for SetEnvoy.
func (s *Server) EnvoyCurrent(nodeID string) bool {
	subscribed := s.clients.subscriptions(func(id, _ string) bool { return waypointKey(id) == waypointKey(nodeID) })
	if subscribed == 0 {
		return true // of another replica, perhaps; the cache would warn of each question
	}
	info := s.envoy.GetStatusInfo(waypointKey(nodeID))
	if info != nil && info.GetNumDeltaWatches()+info.GetNumWatches() < subscribed {
		return false // an answered subscription waits for the next change
	}
	snap, err := s.envoy.GetSnapshot(waypointKey(nodeID))
	return err != nil || s.clients.have(func(id string) bool { return waypointKey(id) == waypointKey(nodeID) }, snap.GetResources(resource.EndpointType))
}

// ZtunnelsCurrent reports whether every connected ztunnel has answered what was published last.
func (s *Server) ZtunnelsCurrent() bool {
	for typeURL, c := range map[string]*deltaCache{wire.TypeAddress: s.workloads.addresses, wire.TypeAuthorization: s.workloads.policies} {
		if c.idle() < s.clients.subscriptions(func(_, t string) bool { return t == typeURL }) {
			return false
		}
	}
	return true
}

// Clients lists who is connected, sorted by node id.
func (s *Server) Clients() []ClientState { return s.clients.list() }

// Serve accepts connections until ctx ends; it closes the listener. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.grpc.Serve(l) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	s.cancel() // ends the streams, so that the graceful stop has little to wait for
	force := time.AfterFunc(2*time.Second, s.grpc.Stop)
	s.grpc.GracefulStop()
	force.Stop()
	if ctx.Err() == nil && err != nil {
		return fmt.Errorf("serve xDS on %s: %w", l.Addr(), err)
	}
	return nil
}

// nodeHash gives all pods of a waypoint the same configuration.
type nodeHash struct{}

func (nodeHash) ID(n *corev3.Node) string { return waypointKey(n.GetId()) }

// waypointKey cuts the pod off a waypoint's node id.
func waypointKey(nodeID string) string {
	rest, ok := strings.CutPrefix(nodeID, waypointPrefix)
	if !ok {
		return nodeID
	}
	gateway, _, _ := strings.Cut(rest, "~")
	return waypointPrefix + gateway
}

func cacheLogger(l *zap.Logger) log.Logger {
	s := l.Named("cache").Sugar()
	return log.LoggerFuncs{WarnFunc: s.Warnf, ErrorFunc: s.Errorf} // its other levels print whole resource maps
}
