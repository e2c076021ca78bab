package subscribe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/pkg/ca"
	"github.com/weftmesh/weft/pkg/model"
	"github.com/weftmesh/weft/pkg/xds/wire"
)

// Delta is what changed, in resources of one type. Values are new and belong to the receiver.
type Delta struct {
	Workloads []*model.Workload
	Services  []*model.Service
	Policies  []*model.Policy
	Ranges    []*model.Range
	// RemovedAddresses are uids of workloads and namespace/hostname of services.
	RemovedAddresses []string
	// RemovedPolicies are namespace/name.
	RemovedPolicies []string
	RemovedRanges   []netip.Prefix
	// Initial says that this is the first delta of its type: all there is.
	Initial bool
}

// Handler takes changes. It is called by one goroutine at a time.
type Handler interface {
	// Apply puts a delta into effect as a whole. An error refuses it: the client reconnects and is
	// sent it again.
	Apply(Delta) error
}

// HandlerFunc is a Handler that is a function.
type HandlerFunc func(Delta) error

// Apply calls f.
func (f HandlerFunc) Apply(d Delta) error { return f(d) }

// Options configure New.
type Options struct {
	// Conn to the controller, see ca.Dial. Required.
	Conn grpc.ClientConnInterface
	// NodeID, see wire.ZtunnelNode. Required.
	NodeID string
	// Handler of changes. Required.
	Handler Handler
	// OnConnect, if set, is called whenever the controller has answered on a new stream.
	OnConnect func()
	// MinBackoff and MaxBackoff bound the wait before reconnecting, which doubles. Defaults 0.1 s and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// Clock, default the machine's.
	Clock ca.Clock
	// Logger, default none.
	Logger *zap.Logger
}

// Client subscribes to all workloads, services and policies and keeps doing so.
type Client struct {
	o      Options
	synced chan struct{} // closed when every type has been applied once
	types  map[string]*subscription
}

// subscription is what the client knows of one type; it outlives streams.
type subscription struct {
	versions *versions       // of what was applied
	shared   *wire.Shared    // by what came in parts until now, nil when all is there
	stand    map[string]bool // policies that deny because they could not be read
	applied  bool            // at least once
	fresh    bool            // nothing was received on this stream yet
}

// order of subscription: policies first, so that they are there when workloads name them.
var order = []string{wire.TypeAuthorization, wire.TypeRange, wire.TypeAddress}

// New makes a client; Run runs it.
func New(o Options) (*Client, error) {
	if o.Conn == nil || o.NodeID == "" || o.Handler == nil {
		return nil, errors.New("xds client: Conn, NodeID and Handler are required")
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 5 * time.Second
	}
	if o.Clock == nil {
		o.Clock = ca.SystemClock{}
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	c := &Client{o: o, synced: make(chan struct{}), types: map[string]*subscription{}}
	for _, t := range order {
		c.types[t] = &subscription{versions: newVersions(), stand: map[string]bool{}}
	}
	return c, nil
}

// Synced is closed once policies, workloads and services have all been applied for the first time.
func (c *Client) Synced() <-chan struct{} { return c.synced }

// Run stays connected until ctx ends, and then returns nil.
func (c *Client) Run(ctx context.Context) error {
	for backoff := c.o.MinBackoff; ctx.Err() == nil; {
		backoff = c.turn(ctx, backoff)
	}
	return nil
}

// turn runs one stream and the wait after it; it returns how long to wait the next time.
func (c *Client) turn(ctx context.Context, backoff time.Duration) time.Duration {
	answered, err := c.stream(ctx)
	if ctx.Err() != nil {
		return backoff
	}
	if answered {
		backoff = c.o.MinBackoff
	}
	wait := time.Duration(float64(backoff) * (0.8 + 0.4*rand.Float64()))
	c.o.Logger.Warn("not connected to the controller; what is known stays in use", zap.Duration("retryIn", wait), zap.Error(err))
	select {
	case <-c.o.Clock.After(wait):
	case <-ctx.Done():
	}
	return min(backoff*2, c.o.MaxBackoff)
}

// stream runs one stream to its end; answered says whether anything came.
func (c *Client) stream(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	desc := &grpc.StreamDesc{StreamName: "DeltaAggregatedResources", ClientStreams: true, ServerStreams: true}
	cs, err := c.o.Conn.NewStream(ctx, desc, method, grpc.ForceCodecV2(codec{}))
	if err != nil {
		return false, fmt.Errorf("open discovery stream: %w", err)
	}
	s := stream{cs}
	for _, t := range order {
		sub := c.types[t]
		sub.fresh = true
		if err := s.send(&request{node: c.o.NodeID, typeURL: t, subscribe: "*", known: sub.versions}); err != nil {
			return false, fmt.Errorf("subscribe to %s: %w", t, s.cause(err))
		}
	}
	for {
		resp, err := s.recv()
		if err != nil {
			return answered, fmt.Errorf("discovery stream: %w", err)
		}
		if !answered && c.o.OnConnect != nil {
			c.o.OnConnect()
		}
		answered = true
		refusal, err := c.receive(resp)
		ack := &request{typeURL: resp.typeURL, nonce: resp.nonce}
		if refusal = errors.Join(refusal, err); refusal != nil {
			ack.refusal = refusal.Error()
			c.o.Logger.Warn("configuration refused; the last good one stays in use", zap.String("type", resp.typeURL), zap.Error(refusal))
		}
		if serr := s.send(ack); serr != nil {
			return answered, fmt.Errorf("acknowledge: %w", s.cause(serr))
		}
		if err != nil {
			return answered, s.drain(cancel, err)
		}
	}
}

// cause finds the status behind a failed send, which by itself is only io.EOF.
func (s stream) cause(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	for {
		if _, err := s.recv(); err != nil {
			return err
		}
	}
}

// drain ends a stream so that what was sent last still arrives, and returns cause.
func (s stream) drain(cancel func(), cause error) error {
	defer time.AfterFunc(2*time.Second, cancel).Stop()
	if err := s.CloseSend(); err != nil {
		return errors.Join(cause, err)
	}
	for {
		if _, err := s.recv(); err != nil {
			return cause
		}
	}
}
