package xds

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/pkg/ca"
)

// NACK is a client's refusal of what it was sent.
type NACK struct {
	NodeID  string    `json:"node"`
	TypeURL string    `json:"type"`
	Detail  string    `json:"detail"` // the client's words
	Nonce   string    `json:"nonce"`
	Version string    `json:"version"` // system version of the refused response
	Time    time.Time `json:"time"`
}

// ClientState describes one open stream.
type ClientState struct {
	NodeID    string               `json:"node"`
	Peer      string               `json:"peer"`
	Caller    ca.Caller            `json:"caller"`
	Connected time.Time            `json:"connected"`
	Types     map[string]TypeState `json:"types"` // by type URL
}

// TypeState is how far a client is with one type.
type TypeState struct {
	Sent      string `json:"sent"`  // system version of the last response
	Acked     string `json:"acked"` // system version of the last response that was accepted
	Responses int    `json:"responses"`
	Resources int    `json:"resources"` // sent on this stream, with repetitions
	Removed   int    `json:"removed"`
	NACKs     int    `json:"nacks"`
	LastNACK  string `json:"lastNack,omitempty"` // of the last response, empty once one is accepted

	// pending maps the nonces that were not answered yet to their versions: a client that subscribes
	// to more before it has answered gets a second response in between.
	pending map[string]string
	// has are the endpoints that a waypoint has, by name: it asks for those of a new cluster only after it has accepted
	// the cluster.
	has map[string]bool
}

// clients follows the streams; it is go-control-plane's callbacks.
type clients struct {
	o     *Options
	m     *serverMetrics
	ready <-chan struct{} // closed once there is a snapshot
	done  <-chan struct{} // closed when the server stops

	mu      sync.Mutex // protects what follows
	streams map[streamKey]*ClientState
}

// streamKey tells delta streams from others, which are numbered apart.
type streamKey struct {
	delta bool
	id    int64
}

func newClients(o *Options, m *serverMetrics, ready, done <-chan struct{}) *clients {
	return &clients{o: o, m: m, ready: ready, done: done, streams: map[streamKey]*ClientState{}}
}

func (c *clients) list() []ClientState {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]ClientState, 0, len(c.streams))
	for _, s := range c.streams {
		cp := *s
		cp.Types = make(map[string]TypeState, len(s.Types))
		for t, v := range s.Types {
			v.pending, v.has = nil, nil
			cp.Types[t] = v
		}
		out = append(out, cp)
	}
	slices.SortFunc(out, func(a, b ClientState) int {
		return cmp.Or(cmp.Compare(a.NodeID, b.NodeID), a.Connected.Compare(b.Connected))
	})
	return out
}

// subscriptions counts types of streams.
func (c *clients) subscriptions(of func(nodeID, typeURL string) bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, s := range c.streams {
		for t := range s.Types {
			if of(s.NodeID, t) {
				n++
			}
		}
	}
	return n
}

// owns notes which endpoints a stream has got, and which not any more.
func (c *clients) owns(k streamKey, typeURL string, more, less []string) {
	if typeURL != resource.EndpointType || len(more)+len(less) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[k]
	if s == nil {
		return
	}
	t := s.Types[typeURL]
	if t.has == nil {
		t.has = map[string]bool{}
	}
	for _, n := range less {
		delete(t.has, n)
	}
	for _, n := range more {
		t.has[n] = true
	}
	s.Types[typeURL] = t
}

// have reports whether the delta streams of some nodes have got all those endpoints.
func (c *clients) have(of func(nodeID string) bool, names map[string]types.Resource) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, s := range c.streams {
		if !k.delta || !of(s.NodeID) {
			continue
		}
		if _, up := s.Types[resource.ListenerType]; !up {
			continue // it serves nobody yet
		}
		has := s.Types[resource.EndpointType].has
		for n := range names {
			if !has[n] {
				return false
			}
		}
	}
	return true
}

// open holds a stream until there is a snapshot, then registers it.
func (c *clients) open(ctx context.Context, k streamKey) error {
	select {
	case <-c.ready:
	case <-ctx.Done():
		return grpcstatus.FromContextError(ctx.Err()).Err()
	case <-c.done:
		return grpcstatus.Error(codes.Unavailable, "the controller is stopping")
	}
	caller, ok := ca.CallerFrom(ctx)
	if !ok {
		return grpcstatus.Error(codes.Unauthenticated, ca.ErrUnauthenticated.Error())
	}
	s := &ClientState{Caller: caller, Connected: c.o.Clock.Now(), Types: map[string]TypeState{}}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		s.Peer = p.Addr.String()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[k] = s
	c.m.connected.Set(float64(len(c.streams)))
	return nil
}

func (c *clients) close(k streamKey) {
	c.mu.Lock()
	s := c.streams[k]
	delete(c.streams, k)
	c.m.connected.Set(float64(len(c.streams)))
	c.mu.Unlock()
	if s != nil && s.NodeID != "" {
		c.o.Logger.Info("proxy disconnected", zap.String("node", s.NodeID), zap.String("peer", s.Peer))
	}
}

// request is what delta and other requests have in common.
type request interface {
	GetNode() *corev3.Node
	GetTypeUrl() string
	GetResponseNonce() string
	GetErrorDetail() *status.Status
}

func (c *clients) request(k streamKey, r request) error {
	c.mu.Lock()
	s := c.streams[k]
	if s == nil {
		c.mu.Unlock()
		return grpcstatus.Error(codes.Internal, "stream is not registered")
	}
	id := r.GetNode().GetId()
	first := s.NodeID == ""
	if first && id != "" {
		s.NodeID = id
	}
	id = cmp.Or(id, s.NodeID)
	t, seen := s.Types[r.GetTypeUrl()]
	changed := id != s.NodeID
	var nack *NACK
	if version, ok := t.pending[r.GetResponseNonce()]; ok {
		nack = t.answered(r, id, version, c.o.Clock.Now())
	}
	s.Types[r.GetTypeUrl()] = t
	state := *s
	c.mu.Unlock()

	if changed {
		return grpcstatus.Errorf(codes.InvalidArgument, "a stream belongs to one node: it began as %q and now says %q", state.NodeID, id)
	}
	if !seen {
		if err := c.o.Authorize(state.Caller, id, r.GetTypeUrl()); err != nil {
			c.o.Logger.Warn("subscription refused", zap.String("node", id), zap.Stringer("caller", state.Caller), zap.String("type", r.GetTypeUrl()), zap.Error(err))
			return grpcstatus.Error(codes.PermissionDenied, err.Error())
		}
	}
	if first && id != "" {
		c.o.Logger.Info("proxy connected", zap.String("node", id), zap.String("peer", state.Peer), zap.Stringer("caller", state.Caller))
	}
	if nack != nil {
		c.nacked(*nack)
	}
	return nil
}

// answered records an acceptance or a refusal of a response; it returns the refusal.
func (t *TypeState) answered(r request, id, version string, now time.Time) *NACK {
	delete(t.pending, r.GetResponseNonce())
	if r.GetErrorDetail() == nil {
		t.Acked, t.LastNACK = version, ""
		return nil
	}
	t.NACKs++
	t.LastNACK = cmp.Or(r.GetErrorDetail().GetMessage(), "(the client gave no reason)")
	return &NACK{NodeID: id, TypeURL: r.GetTypeUrl(), Detail: t.LastNACK, Nonce: r.GetResponseNonce(), Version: version, Time: now}
}

func (c *clients) nacked(n NACK) {
	c.m.nacks.WithLabelValues(shortType(n.TypeURL)).Inc()
	c.o.Logger.Warn("proxy refused its configuration; it keeps what it had", zap.String("node", n.NodeID), zap.String("type", n.TypeURL),
		zap.String("version", n.Version), zap.String("reason", n.Detail))
	if c.o.OnNACK != nil {
		c.o.OnNACK(n)
	}
}

func (c *clients) response(k streamKey, typeURL, version, nonce string, resources, removed, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[k]
	if s == nil {
		return
	}
	t := s.Types[typeURL]
	t.Sent = version
	if t.pending == nil {
		t.pending = map[string]string{}
	}
	t.pending[nonce] = version
	t.Responses++
	t.Resources += resources
	t.Removed += removed
	s.Types[typeURL] = t
	c.m.responses.WithLabelValues(shortType(typeURL)).Inc()
	c.m.resources.WithLabelValues(shortType(typeURL)).Add(float64(resources))
	c.m.bytes.WithLabelValues(shortType(typeURL)).Add(float64(size))
}

func (c *clients) OnStreamOpen(ctx context.Context, id int64, _ string) error {
	return c.open(ctx, streamKey{id: id})
}
func (c *clients) OnStreamClosed(id int64, _ *corev3.Node) { c.close(streamKey{id: id}) }
func (c *clients) OnStreamRequest(id int64, r *discoveryv3.DiscoveryRequest) error {
	return c.request(streamKey{id: id}, r)
}
func (c *clients) OnStreamResponse(_ context.Context, id int64, _ *discoveryv3.DiscoveryRequest, r *discoveryv3.DiscoveryResponse) {
	c.response(streamKey{id: id}, r.GetTypeUrl(), r.GetVersionInfo(), r.GetNonce(), len(r.GetResources()), 0, proto.Size(r))
}
func (c *clients) OnDeltaStreamOpen(ctx context.Context, id int64, _ string) error {
	return c.open(ctx, streamKey{true, id})
}
func (c *clients) OnDeltaStreamClosed(id int64, _ *corev3.Node) { c.close(streamKey{true, id}) }
func (c *clients) OnStreamDeltaRequest(id int64, r *discoveryv3.DeltaDiscoveryRequest) error {
	err := c.request(streamKey{true, id}, r)
	c.owns(streamKey{true, id}, r.GetTypeUrl(), slices.Collect(maps.Keys(r.GetInitialResourceVersions())), r.GetResourceNamesUnsubscribe())
	return err
}
func (c *clients) OnStreamDeltaResponse(id int64, _ *discoveryv3.DeltaDiscoveryRequest, r *discoveryv3.DeltaDiscoveryResponse) {
	c.response(streamKey{true, id}, r.GetTypeUrl(), r.GetSystemVersionInfo(), r.GetNonce(), resourcesIn(r), len(r.GetRemovedResources()), proto.Size(r))
	names := make([]string, 0, len(r.GetResources()))
	for _, res := range r.GetResources() {
		names = append(names, res.GetName())
	}
	c.owns(streamKey{true, id}, r.GetTypeUrl(), names, r.GetRemovedResources())
}
func (c *clients) OnFetchRequest(context.Context, *discoveryv3.DiscoveryRequest) error {
	return grpcstatus.Error(codes.Unimplemented, "fetch is not served: use a stream")
}
func (c *clients) OnFetchResponse(*discoveryv3.DiscoveryRequest, *discoveryv3.DiscoveryResponse) {}
